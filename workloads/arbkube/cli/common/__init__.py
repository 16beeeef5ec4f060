"""What commands share: errors and exit codes, inputs, outputs, the report."""
