"""Exit codes: what the commands end with, for scripts. The docs page is made from this table."""

DONE = 0
REFUSED = 1
MISUSED = 2
STUCK = 70
INTERRUPTED = 130

EXITS = (
    (DONE, "What was asked is done."),
    (
        REFUSED,
        (
            "It was refused, or found to be wrong; one sentence on standard error says why. Also where a question was "
            "answered with no, and where whoever read the output has gone."
        ),
    ),
    (MISUSED, "The command line cannot be understood."),
    (STUCK, "A worker has too many jobs that did not end, and has to be started again."),
    (INTERRUPTED, "Ctrl-C has ended what goes on until then, such as 'watch'; all that was printed is complete."),
)
"""Each exit code with what it means."""
