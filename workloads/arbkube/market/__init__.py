"""What a market is: instruments, exact order books, their proofs, frames and the bus."""
