
# Completes paths of parameters, which `datakit params list` reads from the server.
(( $+functions[_datakit_parameters] )) ||
_datakit_parameters() {
    local word option
    local -a options names
    # The array `words` no longer contains the options before the subcommand, but the line does.
    for word in ${${(z)BUFFER}[2,-1]}; do
        if [[ -n $option ]]; then
            options+=($option $word)
            option=
            continue
        fi
        case $word in
            -a|--address|--dialect|--timeout|--dir) option=$word ;;
            --address=*|--dialect=*|--dir=*) options+=($word) ;;
        esac
    done
    names=(${(f)"$(datakit params --timeout 2 $options list --names 2>/dev/null)"})
    compadd "$@" -a names
}

(( $+functions[_datakit_settings] )) ||
_datakit_settings() {
    # There are no completions for values.
    [[ $PREFIX == *=* ]] || _datakit_parameters "$@" -S =
}
