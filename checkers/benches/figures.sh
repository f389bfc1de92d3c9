#!/bin/sh
# Prints the table of the checkers' figures. Arguments go to the benchmark: `--full` for
# full sizes (about 3 GB of temporary files), words for single rows. VERIDICAL_CORPUS names
# the folder of recorded histories for the row `corpus`.
set -eu
cd "$(dirname "$0")/../.."
exec cargo bench --quiet -p veridical-checkers --bench figures -- "$@"
