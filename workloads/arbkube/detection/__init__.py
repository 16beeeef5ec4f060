"""Pure: books in, sized opportunities and the reasons for the others out. No I/O, no clock."""
