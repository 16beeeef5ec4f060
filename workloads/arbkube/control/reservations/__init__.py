"""Budgets that several executors share: capacities, what an Open may come to need, and the blocks that executors hold.

Layers: `pools` (what is shared) ← `demand` (how much of it an executor's state amounts to) ← `blocks` (an executor's side, no
I/O) ← `keeper` (its conversation with the control server, whose side is `scripts/reserve.lua`). May not: decide what is traded.
"""
