"""Train tasks and record every weight's trajectory into a corpus."""
