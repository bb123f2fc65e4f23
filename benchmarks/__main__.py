"""Run the benchmarks: python -m benchmarks [lifecycle | throughput | bulk] [options of that one]."""

import sys

from benchmarks import bulk, lifecycle, throughput

SUITES = {"lifecycle": lifecycle.main, "throughput": throughput.main, "bulk": bulk.main}


def main() -> None:
    """Run the benchmark that is named first on the command line, or all of them."""
    words = sys.argv[1:]
    chosen = [words.pop(0)] if words and words[0] in SUITES else list(SUITES)
    for name in chosen:
        print(f"\n## {name}\n")
        sys.argv[1:] = words
        SUITES[name]()


if __name__ == "__main__":
    main()
