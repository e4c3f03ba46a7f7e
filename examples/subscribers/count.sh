#!/bin/sh
# Notes the type of an event, for gyre subscribe to run:
#
#   gyre subscribe counting --exec ./examples/subscribers/count.sh --until-caught-up
#   sort -u counts.txt | cut -d ' ' -f 2 | sort | uniq -c
#
# The event is one JSON object on stdin. It may come more than once, after a crash for
# instance, so what is kept has its position in the log: sort -u leaves out repeats.
# Exit code 0 acknowledges the event; with set -e, whatever fails has it sent again.
set -eu
IFS= read -r event
rest=${event#*\"position\":}
position=${rest%%,*}
rest=${rest#*\"type\":\"}
echo "$position ${rest%%\"*}" >>"${COUNTS:-counts.txt}"
