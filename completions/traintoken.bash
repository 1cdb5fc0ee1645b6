# bash completion for traintoken
# shellcheck shell=bash

_traintoken() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local common='--json --quiet --verbose --platform --help'
    local provision='--module --pin-fd --last-pin-try --json --quiet --verbose --help'
    local audit='--audit --audit-log' key='--key --module --key-loader --pin-fd --last-pin-try' station='--station --state --again'
    local trust='--trust --trust-train-keys --require-manifest' command='' options i

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        pre-run | post-run | run | pull | push | verify | inspect | seal | results | clean | doctor)
            command=${COMP_WORDS[i]}
            break
            ;;
        key | token | audit | trust)
            command=${COMP_WORDS[i]}
            ((i + 1 >= COMP_CWORD)) || command="$command ${COMP_WORDS[i + 1]}"
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
    --module | --policy | --verify | --public-key | --audit | --checkpoint | --token-file | --robot-file | --ca-file | --query | --config | --file-list | --entry-point | --env-file | --log | --volume)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    -o | --output)
        local kind=-d
        [[ $command != 'key '* ]] || kind=-f
        mapfile -t COMPREPLY < <(compgen "$kind" -- "$current")
        return
        ;;
    --state | --definition | --trust)
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W 'pem der hex fingerprint request certificate' -- "$current")
        return
        ;;
    --vault | --central)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'https:' -- "$current")
        return
        ;;
    --vault-kv)
        mapfile -t COMPREPLY < <(compgen -W '1 2' -- "$current")
        return
        ;;
    --gpus)
        mapfile -t COMPREPLY < <(compgen -W 'all' -- "$current")
        return
        ;;
    --env)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -e -- "$current")
        return
        ;;
    --bits)
        mapfile -t COMPREPLY < <(compgen -W '2048 3072 4096' -- "$current")
        return
        ;;
    --platform)
        mapfile -t COMPREPLY < <(compgen -W 'linux/amd64 linux/arm64' -- "$current")
        return
        ;;
    --audit-log)
        mapfile -t COMPREPLY < <(compgen -W 'file syslog journald' -- "$current")
        return
        ;;
    --event)
        mapfile -t COMPREPLY < <(compgen -W 'begin key trust decision end trail recovered' -- "$current")
        return
        ;;
    --key-loader)
        mapfile -t COMPREPLY < <(compgen -W 'auto libp11 provider engine' -- "$current")
        return
        ;;
    --key | --builder-key | --token)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'pkcs11:' -- "$current")
        return
        ;;
    --base | --against | --image | --from)
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'oci: docker-daemon:' -- "$current")
        return
        ;;
    --valid-from | --valid-until | --station | --creator | --id | --stop | --interpreter | --network | --memory | --cpus | --timeout | --subject | --days | --vault-path | --vault-field)
        return
        ;;
    --pin-fd | --so-pin-fd | --new-pin-fd | --file-pin-fd | --label | --allow-mechanisms)
        return
        ;;
    esac

    case $command in
    '') options='pre-run post-run run pull push verify inspect seal results clean doctor trust token key audit --version --help' ;;
    pre-run) options="$common $key $audit $station $trust" ;;
    post-run) options="$common $key $audit $station $trust --base --config --rebase" ;;
    run)
        options="$common $key $audit $station --base --against --pull --push --env --env-file --volume --network --gpus --memory --cpus"
        options="$options --timeout --log $trust"
        ;;
    pull | push) options=$common ;;
    clean) options="$common --dry-run" ;;
    doctor) options="${common/--platform /} $key $audit --station --state --image --policy" ;;
    verify) options="$common $trust --against --station" ;;
    inspect) options=$common ;;
    seal)
        options="$common $key $audit --definition --query --base --creator --stop --id --entry-point --interpreter"
        options="$options --builder-key --file-list"
        ;;
    trust) options='add list show remove check import --help' ;;
    'trust add')
        options="$provision --trust --from --token --vault --vault-path --vault-field --vault-kv --central --token-file"
        options="$options --robot-file --ca-file --valid-from --valid-until --yes --platform"
        ;;
    'trust list' | 'trust show' | 'trust remove') options='--trust --json --quiet --verbose --help' ;;
    'trust check') options="$common --trust --station" ;;
    'trust import') options='--trust --yes --json --quiet --verbose --help' ;;
    token) options='list init set-pin --help' ;;
    'token list') options='--module --json --quiet --verbose --help' ;;
    'token init') options="$provision --label --so-pin-fd --erase --yes" ;;
    'token set-pin') options="$provision --so --unlock --new-pin-fd" ;;
    key) options='generate import list show rename delete check export attest enrol --help' ;;
    'key generate') options="$provision $audit --label --id --bits --always-authenticate --allow-mechanisms" ;;
    'key import')
        options="$provision $audit --label --id --always-authenticate --allow-mechanisms --file-pin-fd --shred"
        ;;
    'key list' | 'key show') options=$provision ;;
    'key rename') options="$provision --label --id" ;;
    'key delete') options="$provision --yes" ;;
    'key check') options="$provision $audit --policy" ;;
    'key enrol')
        options="$provision --vault --vault-path --vault-field --vault-kv --central --station --token-file --robot-file"
        options="$options --ca-file --replace --dry-run"
        ;;
    'key export') options="$provision $audit --format --subject --days --key-loader --login --output -o --force" ;;
    'key attest') options="$provision $audit --note --output -o --force --verify --public-key" ;;
    audit) options='verify show checkpoint rotate --help' ;;
    'audit verify') options="--json --quiet --verbose --help --checkpoint --public-key --alone" ;;
    'audit show') options="--json --quiet --verbose --help --train --since --event --status --key --alone" ;;
    'audit checkpoint') options="--json --quiet --verbose --help $key --output -o --alone" ;;
    'audit rotate') options='--json --quiet --verbose --help' ;;
    results) options="$common $key $audit $trust --output -o --unfinished" ;;
    esac

    if [[ -z $command || $command == key || $command == token || $command == trust || $command == audit || $command == doctor || $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ $command == 'audit '* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    elif [[ $command == 'trust import' ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
    elif [[ $command == 'trust add' && $COMP_CWORD -gt 3 ]]; then
        mapfile -t COMPREPLY < <(compgen -f -W 'creator station' -- "$current")
    elif [[ $command == 'trust '[asr]* ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'creator station authority certificate' -- "$current")
    elif [[ $command == 'key import' ]]; then
        mapfile -t COMPREPLY < <(compgen -f -W 'pkcs11:' -- "$current")
        [[ ${COMPREPLY[0]-} != *: ]] || compopt -o nospace
    elif [[ $command == 'key '* || $command == 'token '* ]]; then
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'pkcs11:' -- "$current")
    elif [[ $command == results ]]; then
        mapfile -t COMPREPLY < <(compgen -f -W 'oci: docker-daemon:' -- "$current")
        [[ ${COMPREPLY[0]-} != *: ]] || compopt -o nospace
    elif [[ $command == pull || $command == push || $command == run ]]; then
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'docker-daemon:' -- "$current")
    else
        compopt -o nospace
        mapfile -t COMPREPLY < <(compgen -W 'oci: docker-daemon:' -- "$current")
    fi
}
complete -F _traintoken traintoken
