# machine.sh FOLDER PROGRAM UNITS: PID 1 of a machine of its own, with its own processes,
# network and files. FOLDER takes its changed files, PROGRAM is kvexpress, UNITS has our
# units. It prints "ready", and is the systemd of the machine: it obeys /bin/systemctl.
set -eu
folder=$1 program=$2 units=$3

mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
hostname web-1
mount -t tmpfs tmpfs "$folder" # an overlay cannot be above another overlay
for dir in etc root srv var usr; do
	mkdir "$folder/$dir" "$folder/$dir.work"
	mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$folder/$dir,workdir=$folder/$dir.work" "/$dir"
done
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /etc/kvexpress/conf.d /run/systemd
touch /usr/local/bin/kvexpress
mount --bind "$program" /usr/local/bin/kvexpress
cp "$units"/kvexpress-agent*.service /etc/systemd/system/
cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
answer=/run/systemd/$$
echo "$answer $*" >/run/systemd/request
until [ -e $answer ]; do sleep 0.02; done
exit "$(cat $answer)"
END
chmod +x /usr/local/bin/systemctl
mkfifo /run/systemd/request
exec 8<>/run/systemd/request # open all the time, so no request is lost

# sandbox COMMAND...: as ProtectSystem=strict, PrivateTmp, the user and the privileges of our unit.
sandbox() {
	own="/var/lib/$(setting StateDirectory) /run/$(setting RuntimeDirectory)"
	mkdir -p $own
	[ -z "$user" ] || chown $user $own
	writable=" $own $(setting ReadWritePaths) "
	privileges=$(setting CapabilityBoundingSet | tr '[:upper:]' '[:lower:]' | sed 's/cap_/,+/g; s/ //g')
	exec unshare --mount sh -ec '
		for dir in '"$writable"'; do mount --bind "$dir" "$dir"; done
		for dir in / /etc /srv /usr /var; do
			case "'"$writable"'" in *" $dir "*) ;; *) mount -o remount,bind,ro "$dir" ;; esac
		done
		mount -t tmpfs -o mode=1777 tmpfs /tmp
		exec setpriv '"$identity"' --no-new-privs --bounding-set=-all'"$privileges"' -- "$@"' sh "$@"
}

# setting NAME: the values of the unit's NAME, with those of its drop-ins.
setting() {
	cat "$file" "/etc/systemd/system/$unit.service.d/"*.conf 2>/dev/null | sed -n "s/%i/$instance/g; s/^$1=-\{0,1\}//p" |
		tr '\n' "${2:- }"
}

# obey VERB UNIT: what systemctl does, as far as the examples need it.
obey() {
	unit=${2:-} main=/run/$unit.main instance=
	case $unit in *@*) instance=${unit#*@} ;; esac
	file=/etc/systemd/system/${unit%"$instance"}.service
	[ -e "$file" ] || file=/lib/systemd/system/$unit.service
	case $* in
	"enable --now "*) shift; obey start "$2"; return ;;
	esac
	case ${1:-} in
	daemon-reload) ;;
	start | restart) start ;;
	reload) reload ;;
	reload-or-restart) if runs; then reload; else start; fi ;;
	*) return 1 ;;
	esac
}

start() {
	if runs; then kill "$(cat "$main")" && wait "$(cat "$main")" || true; fi
	for environment in $(setting EnvironmentFile); do [ ! -e "$environment" ] || . "$environment"; done
	eval "export X= $(setting Environment)"
	user=$(setting User)
	identity=${user:+--reuid=$user --regid=$user --init-groups}
	case $unit in kvexpress-agent*) run=sandbox ;; *) run="exec ${user:+setpriv $identity}" ;; esac
	eval "$run $(setting ExecStart)" >>"/run/$unit.log" 2>&1 &
	echo $! >"$main"
	until is_ready >/dev/null 2>&1; do kill -0 $! || return; sleep 0.05; done
}

runs() { [ -e "$main" ] && grep -q '^State:[[:space:]]*[^XZ]' "/proc/$(cat "$main")/status" 2>/dev/null; }

# is_ready tells what a unit of Type=notify tells systemd.
is_ready() {
	case $unit in
	kvexpress-agent) kvexpress agent status ;;
	kvexpress-agent@*) kvexpress agent status -C "/etc/kvexpress/$instance/agent.yml" ;;
	kvexpress-hub) grep -q listening "/run/$unit.log" ;;
	esac
}

reload() {
	MAINPID=$(cat "$main")
	setting ExecReload '\n' >/run/systemd/reload
	while read -r command; do eval "$command" >>"/run/$unit.log" 2>&1 || return; done </run/systemd/reload
}

kvexpress hub --dev >/run/hub.log 2>&1 &
printf 'hubs: 127.0.0.1:8500\ntargets: []\n' >/etc/kvexpress/agent.yml
obey start kvexpress-agent
echo ready
while read -r answer request <&8; do
	code=0
	obey $request || code=$?
	echo "$code" >"$answer.new"
	mv "$answer.new" "$answer"
done
