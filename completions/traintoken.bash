# bash completion for traintoken
# shellcheck shell=bash

_traintoken() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local common='--json --quiet --verbose --platform --help'
    local key='--key --module --pin-fd --last-pin-try' station='--station --state --again'
    local command='' options i

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        pre-run | post-run | verify | inspect | seal | results)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done

    # "=" and ":" are words of their own to readline: take back what belongs to --stop ID=FILE and oci:DIR.
    if [[ $previous == '=' && ${COMP_WORDS[COMP_CWORD - 3]-} == --stop ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
    fi
    if [[ ($previous == ':' && ${COMP_WORDS[COMP_CWORD - 2]-} == oci) || ($current == ':' && $previous == oci) ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "${current#:}")
        return
    fi

    case $previous in
    --module | --query | --config | --file-list | --entry-point)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --state | --definition | -o | --output)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --platform)
        mapfile -t COMPREPLY < <(compgen -W 'linux/amd64 linux/arm64' -- "$current")
        return
        ;;
    --key | --builder-key)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'pkcs11:' -- "$current")
        return
        ;;
    --base)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'oci:' -- "$current")
        return
        ;;
    --station | --creator | --id | --stop | --pin-fd | --interpreter)
        return
        ;;
    esac

    case $command in
    '') options='pre-run post-run verify inspect seal results --version --help' ;;
    pre-run) options="$common $key $station" ;;
    post-run) options="$common $key $station --base --config" ;;
    verify | inspect) options=$common ;;
    seal)
        options="$common $key --definition --query --base --creator --stop --id --entry-point --interpreter"
        options="$options --builder-key --file-list"
        ;;
    results) options="$common $key --output -o --unfinished" ;;
    esac

    if [[ -z $command || $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ $command == results ]]; then
        mapfile -t COMPREPLY < <(compgen -f -W 'oci:' -- "$current")
        [[ ${COMPREPLY[0]-} != oci: ]] || compopt -o nospace
    else
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'oci:' -- "$current")
    fi
}
complete -F _traintoken traintoken
