"""From orders and fills to what follows: what an intent or a Flatten amounts to, and what is sent next."""
