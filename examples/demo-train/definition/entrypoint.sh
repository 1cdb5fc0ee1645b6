#!/bin/sh
# The demo's train: counts the patients of each group and sums their ages, station by station.
#
# Reads what the station offers in /data/patients.csv and what the stations before left in /opt/pht_results; leaves its
# own there. Only sums travel; a group with fewer patients than the query's smallest_group is left out.
set -eu

train=/opt/pht_train
results=/opt/pht_results

condition=$(sed -n 's/.*"condition": *"\([a-z0-9 ]*\)".*/\1/p' "$train/query.json")
smallest=$(sed -n 's/.*"smallest_group": *\([0-9]*\).*/\1/p' "$train/query.json")

mkdir -p "$results/stations"
set -- "$results"/stations/*.csv
[ -e "$1" ] || shift
stop=$(($# + 1))

awk -F, -v condition="$condition" -v smallest="$smallest" -f "$train/lib/count.awk" /data/patients.csv |
    sort >"$results/stations/$stop.csv"

# The total so far is made anew from every station's part.
awk -F, -f "$train/lib/total.awk" "$results"/stations/*.csv | sort >"$results/total.csv"

echo "stop $stop: counted $(awk -F, '{ n += $2 } END { print n + 0 }' "$results/stations/$stop.csv") patients with $condition"
