"""Processes for tests that need more than one: what they run, and how they are started, heard, and killed by id.

`application` is the application that all of them share, `child` starts and watches one process, `crew` several that
race, `nursery` brings forth those that are to die, `traps` kills a process from within at a named point. The other
programs are `racer`, `maker`, `writer` and `worker`; `voice` is how they speak.
"""
