# fish completion for traintoken

set -l commands pre-run post-run run pull push verify inspect seal results clean doctor trust token key audit
set -l with_key pre-run post-run run seal results doctor checkpoint
set -l with_audit pre-run post-run run seal results doctor generate import check export attest
set -l with_pin pre-run post-run run seal results doctor key token checkpoint trust
set -l making generate import
set -l at_station pre-run post-run run doctor

function __traintoken_images
    for folder in (string replace -r '^oci:' '' -- (commandline -ct) | read -l stem; __fish_complete_directories "$stem" '')
        echo "oci:$folder"
    end
    echo docker-daemon:
end

complete -c traintoken -f
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -l version -d 'Print the version'
complete -c traintoken -l help -d 'Print a short help'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a pre-run -d 'Verify and decrypt a train'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a post-run -d 'Sign and encrypt a train'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a run -d 'Do a whole stop'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a pull -d 'Fetch a train from its registry'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a push -d 'Send a train to its registry'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a verify -d 'Check all that needs no key'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a inspect -d 'Show a train'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a seal -d 'Make a train'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a results -d 'Open the results'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a clean -d 'Remove what a killed run left'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a doctor -d 'Look at the whole station'

complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a token -d 'List tokens, make one'
complete -c traintoken -n "__fish_seen_subcommand_from token; and not __fish_seen_subcommand_from list init set-pin" -a 'list init set-pin'
complete -c traintoken -n "__fish_seen_subcommand_from token" -a pkcs11:
complete -c traintoken -n "__fish_seen_subcommand_from init" -l label -x -d 'Name of the token'
complete -c traintoken -n "__fish_seen_subcommand_from init" -l so-pin-fd -x -d "Descriptor with the officer's PIN"
complete -c traintoken -n "__fish_seen_subcommand_from init" -l erase -d 'Also one that is initialized'
complete -c traintoken -n "__fish_seen_subcommand_from init delete" -l yes -d 'Do not ask'
complete -c traintoken -n "__fish_seen_subcommand_from set-pin" -l so -d "The officer's own PIN"
complete -c traintoken -n "__fish_seen_subcommand_from set-pin" -l unlock -d 'A new PIN for the user'
complete -c traintoken -n "__fish_seen_subcommand_from set-pin" -l new-pin-fd -x -d 'Descriptor with the new PIN'

complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a trust -d 'Say whose keys are believed'
complete -c traintoken -n "__fish_seen_subcommand_from trust; and not __fish_seen_subcommand_from add list show remove check import" -a 'add list show remove check import'
complete -c traintoken -n "__fish_seen_subcommand_from trust; and __fish_seen_subcommand_from add show remove" -F -a 'creator station authority certificate'
complete -c traintoken -n "__fish_seen_subcommand_from trust pre-run post-run run verify results" -l trust -r -a '(__fish_complete_directories)' -d 'Trust store'
complete -c traintoken -n "__fish_seen_subcommand_from pre-run post-run run verify results" -l trust-train-keys -d 'Believe the keys that the train names'
complete -c traintoken -n "__fish_seen_subcommand_from pre-run post-run run verify results" -l require-manifest -d 'Refuse trains without signed manifests'
complete -c traintoken -n "__fish_seen_subcommand_from trust" -l from -x -a '(__traintoken_images)' -d 'The key that this train names'
complete -c traintoken -n "__fish_seen_subcommand_from trust" -l token -x -a 'pkcs11:' -d 'The key in a token'
complete -c traintoken -n "__fish_seen_subcommand_from trust" -l valid-from -x -d 'Trust it from then on'
complete -c traintoken -n "__fish_seen_subcommand_from trust" -l valid-until -x -d 'Trust it before then'
complete -c traintoken -n "__fish_seen_subcommand_from trust" -l yes -d 'Do not ask'
complete -c traintoken -n "__fish_seen_subcommand_from trust verify" -l station -x -d 'This station'

set -l actions generate import list show rename delete check export attest enrol
complete -c traintoken -n "__fish_seen_subcommand_from key; and not __fish_seen_subcommand_from $actions" -a 'generate import list show rename delete'
complete -c traintoken -n "__fish_seen_subcommand_from $making rename" -l label -x -d 'Name of the key'
complete -c traintoken -n "__fish_seen_subcommand_from $making rename" -l id -x -d 'Its id, hexadecimal'
complete -c traintoken -n "__fish_seen_subcommand_from generate" -l bits -x -a '2048 3072 4096' -d 'Size'
complete -c traintoken -n "__fish_seen_subcommand_from $making" -l always-authenticate -d 'It asks for the PIN at each use'
complete -c traintoken -n "__fish_seen_subcommand_from $making" -l allow-mechanisms -x -d 'Limit it to these'
complete -c traintoken -n "__fish_seen_subcommand_from import" -l file-pin-fd -x -d 'Descriptor with the passphrase'
complete -c traintoken -n "__fish_seen_subcommand_from import" -l shred -d 'Overwrite and remove the file'
complete -c traintoken -n "__fish_seen_subcommand_from import" -F
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a key -d 'Make keys, look after them'
complete -c traintoken -n "__fish_seen_subcommand_from key; and not __fish_seen_subcommand_from check" -a check -d 'Can it serve a station?'
complete -c traintoken -n "__fish_seen_subcommand_from key" -a pkcs11:

complete -c traintoken -n "__fish_seen_subcommand_from $commands; and not __fish_seen_subcommand_from key token doctor audit trust" -a '(__traintoken_images)'
complete -c traintoken -n "__fish_seen_subcommand_from $commands" -l json -d 'Print one JSON object'
complete -c traintoken -n "__fish_seen_subcommand_from $commands" -s q -l quiet -d 'Only errors on standard error'
complete -c traintoken -n "__fish_seen_subcommand_from $commands" -s v -l verbose -d 'Say more'
complete -c traintoken -n "__fish_seen_subcommand_from $commands" -l platform -x -a 'linux/amd64 linux/arm64' -d 'Image to take'

complete -c traintoken -n "__fish_seen_subcommand_from $with_key" -l key -x -a 'pkcs11:' -d 'URI of the private key'
complete -c traintoken -n "__fish_seen_subcommand_from $with_pin" -l module -r -F -d 'PKCS#11 module'
complete -c traintoken -n "__fish_seen_subcommand_from $with_key export" -l key-loader -x -a 'auto libp11 provider engine' -d 'Way to the key'
complete -c traintoken -n "__fish_seen_subcommand_from key; and not __fish_seen_subcommand_from export" -a export -d 'Give its public half away'
complete -c traintoken -n "__fish_seen_subcommand_from export" -l format -x -a 'pem der hex fingerprint request certificate' -d 'Form of the key'
complete -c traintoken -n "__fish_seen_subcommand_from export" -l subject -x -d 'Whose key it is'
complete -c traintoken -n "__fish_seen_subcommand_from export" -l days -x -d 'How long the certificate is valid'
complete -c traintoken -n "__fish_seen_subcommand_from key; and not __fish_seen_subcommand_from attest" -a attest -d 'Make or check a signed record'
complete -c traintoken -n "__fish_seen_subcommand_from attest" -l note -x -d 'What else the record says'
complete -c traintoken -n "__fish_seen_subcommand_from attest" -l verify -r -F -d 'Check this record'
complete -c traintoken -n "__fish_seen_subcommand_from attest" -l public-key -r -F -d 'Key that it has to be about'
complete -c traintoken -n "__fish_seen_subcommand_from export attest" -s o -l output -r -F -d 'File to write'
complete -c traintoken -n "__fish_seen_subcommand_from export" -l login -d 'Try whether the private half belongs to it'
complete -c traintoken -n "__fish_seen_subcommand_from export attest" -l force -d 'Replace the file'
complete -c traintoken -n "__fish_seen_subcommand_from key; and not __fish_seen_subcommand_from enrol" -a enrol -d 'Bring it to a registry'
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l vault -x -a 'https:' -d "Vault's address"
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l vault-path -x -d 'Store and secret'
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l vault-field -x -d "The secret's field"
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l vault-kv -x -a '1 2' -d "The store's version"
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l central -x -a 'https:' -d "The central service's API"
complete -c traintoken -n "__fish_seen_subcommand_from enrol" -l station -x -d 'This station'
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l token-file -r -F -d 'File with the token'
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l robot-file -r -F -d 'File with ID:SECRET'
complete -c traintoken -n "__fish_seen_subcommand_from enrol trust" -l ca-file -r -F -d 'Certificates of authorities'
complete -c traintoken -n "__fish_seen_subcommand_from enrol" -l replace -d 'In the place of another key'
complete -c traintoken -n "__fish_seen_subcommand_from enrol" -s n -l dry-run -d 'Write nothing'
complete -c traintoken -n "__fish_seen_subcommand_from check doctor" -l policy -r -F -d 'Wishes for the key'
complete -c traintoken -n "__fish_seen_subcommand_from $with_pin" -l pin-fd -x -d 'Descriptor with the PIN'
complete -c traintoken -n "__fish_seen_subcommand_from $with_pin" -l last-pin-try -d 'Log in even on the last PIN try'

complete -c traintoken -n "__fish_seen_subcommand_from $at_station" -l station -x -d 'This station'
complete -c traintoken -n "__fish_seen_subcommand_from $at_station" -l state -r -a '(__fish_complete_directories)' -d 'Station memory'
complete -c traintoken -n "__fish_seen_subcommand_from pre-run post-run run" -l again -d 'Do a stop that was done before'

complete -c traintoken -n "__fish_seen_subcommand_from post-run run seal" -l base -x -a '(__traintoken_images)' -d 'Base image'
complete -c traintoken -n "__fish_seen_subcommand_from verify run" -l against -x -a '(__traintoken_images)' -d 'Master image it must be built on'
complete -c traintoken -n "__fish_seen_subcommand_from post-run" -l config -r -F -d 'Configuration that pre-run verified'
complete -c traintoken -n "__fish_seen_subcommand_from post-run" -l rebase -d 'Accepted, changes nothing'

complete -c traintoken -n "__fish_seen_subcommand_from run" -l pull -d 'First fetch the image and its base'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l push -d 'Afterwards send the image'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l env -x -d 'Variable for the train'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l env-file -r -F -d 'Variables for the train'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l volume -r -F -d 'File or folder for the train'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l network -x -d "The engine's network"
complete -c traintoken -n "__fish_seen_subcommand_from run" -l gpus -x -a all -d 'Graphics processors'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l memory -x -d 'Most memory'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l cpus -x -d 'Most processors'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l timeout -x -d 'Time after which it is ended'
complete -c traintoken -n "__fish_seen_subcommand_from run" -l log -r -F -d 'File for its output'

complete -c traintoken -n "__fish_seen_subcommand_from clean" -s n -l dry-run -d 'Remove nothing'
complete -c traintoken -n "__fish_seen_subcommand_from doctor" -l image -x -a '(__traintoken_images)' -d 'A train'

complete -c traintoken -n "__fish_seen_subcommand_from seal" -l definition -r -a '(__fish_complete_directories)' -d 'Folder with the code'
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l query -r -F -d 'Becomes query.json'
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l creator -x -d "The creator's id"
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l stop -r -F -d 'Station=public.pem'
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l id -x -d "The train's id"
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l entry-point -r -F -d 'What runs'
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l interpreter -x -d 'What runs it'
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l builder-key -x -a 'pkcs11:' -d "URI of the builder's key"
complete -c traintoken -n "__fish_seen_subcommand_from seal" -l file-list -r -F -d 'Files in hash order'

complete -c traintoken -n "__fish_seen_subcommand_from results" -s o -l output -r -a '(__fish_complete_directories)' -d 'Folder to make'
complete -c traintoken -n "__fish_seen_subcommand_from results" -l unfinished -d 'Open what there is before the last stop'

complete -c traintoken -n "__fish_seen_subcommand_from $with_audit" -l audit -r -F -d 'Audit trail that is written to'
complete -c traintoken -n "__fish_seen_subcommand_from $with_audit" -l audit-log -x -a 'file syslog journald' -d 'Where it is copied to'
complete -c traintoken -n "not __fish_seen_subcommand_from $commands" -a audit -d 'Verify, show and rotate audit trails'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and not __fish_seen_subcommand_from verify show checkpoint rotate" -a 'verify show checkpoint rotate'
complete -c traintoken -n "__fish_seen_subcommand_from audit" -F
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from verify" -l checkpoint -r -F -d 'What the trail must go on from'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from verify" -l public-key -r -F -d 'Key that signed the checkpoint'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and not __fish_seen_subcommand_from rotate" -l alone -d 'This file only'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from show" -l train -x -d 'Only of this train'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from show" -l since -x -d 'Only from then on'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from show" -l event -x -a 'begin key trust decision end trail recovered' -d 'Only these'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from show" -l status -x -d 'Only with this outcome'
complete -c traintoken -n "__fish_seen_subcommand_from audit; and __fish_seen_subcommand_from show" -l key -x -d 'Only of this key'
complete -c traintoken -n "__fish_seen_subcommand_from checkpoint" -s o -l output -r -F -d 'File to write'
