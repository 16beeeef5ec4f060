"""What every pod has around its role: process, configuration, belief, status, metrics."""
