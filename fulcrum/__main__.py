"""`python -m fulcrum`: the command line."""

from fulcrum.pipelines.__main__ import main

if __name__ == "__main__":
    main()
