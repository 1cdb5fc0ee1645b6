# group,patients,sum of ages (of several stations)  ->  group,patients,mean age
{ patients[$1] += $2; ages[$1] += $3 }
END {
    for (group in patients)
        printf "%s,%d,%.1f\n", group, patients[group], ages[group] / patients[group]
}
