# patient,sex,age,condition  ->  group,patients,sum of ages
/^#/ || $1 == "patient" { next }
$4 == condition { patients[$2]++; ages[$2] += $3 }
END {
    for (group in patients)
        if (patients[group] >= smallest)
            printf "%s,%d,%d\n", group, patients[group], ages[group]
}
