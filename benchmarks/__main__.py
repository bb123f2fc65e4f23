"""Run the benchmarks: python -m benchmarks."""

from benchmarks.lifecycle import main

if __name__ == "__main__":
    main()
