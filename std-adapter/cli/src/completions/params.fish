
# Completes paths of parameters, which `datakit params list` reads from the server.
function __fish_datakit_parameters
    set -l words (commandline -opc)
    set -l options
    set -l option
    for word in $words[2..-1]
        if test -n "$option"
            set -a options $option $word
            set option
            continue
        end
        switch $word
            case -a --address --dialect --timeout --dir
                set option $word
            case '--address=*' '--dialect=*' '--dir=*'
                set -a options $word
        end
    end
    datakit params --timeout 2 $options list --names 2>/dev/null
end

complete -c datakit -n "__fish_datakit_using_subcommand params; and __fish_seen_subcommand_from list get reset save watch" -f -a "(__fish_datakit_parameters)"
complete -c datakit -n "__fish_datakit_using_subcommand params; and __fish_seen_subcommand_from set" -f -a "(__fish_datakit_parameters | string replace -r '\$' =)"
