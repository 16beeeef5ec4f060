"""Pure: limits, the ordered gate, positions, marks and PnL. No I/O, no clock."""
