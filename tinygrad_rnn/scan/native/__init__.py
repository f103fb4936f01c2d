"""Machine code for a scan: LLVM modules written by hand-made rules, compiled once, kept on disk."""
