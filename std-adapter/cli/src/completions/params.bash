
# Completes paths of parameters, which `datakit params list` reads from the server. The function
# above completes everything else.
_datakit_params() {
    local line=${COMP_LINE:0:COMP_POINT} word option="" options=() command="" subcommand="" words
    # Bash splits words at `=` and `:`, so the line is split again.
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local last=$((${#words[@]} - 1))
    local current=${words[last]}
    for word in "${words[@]:1:last-1}"; do
        if [[ -n $option ]]; then
            options+=("$option" "$word")
            option=""
            continue
        fi
        case $word in
            -a | --address | --dialect | --timeout | --dir) option=$word ;;
            --address=* | --dialect=* | --dir=*) options+=("$word") ;;
            -*) ;;
            *)
                if [[ -z $command ]]; then
                    command=$word
                elif [[ -z $subcommand ]]; then
                    subcommand=$word
                fi
                ;;
        esac
    done
    case $command/$subcommand in
        params/list | params/get | params/set | params/reset | params/save | params/watch) ;;
        *) option=none ;;
    esac
    if [[ -n $option || $current == -* ]]; then
        _datakit "$@"
        return
    fi
    local names equals=()
    names=$(datakit params --timeout 2 "${options[@]}" list --names 2>/dev/null)
    if [[ $subcommand == set ]]; then
        equals=(-S =)
        compopt -o nospace 2>/dev/null
    fi
    COMPREPLY=($(compgen "${equals[@]}" -W "$names" -- "$current"))
}

complete -F _datakit_params -o bashdefault -o default datakit
