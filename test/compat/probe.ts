/** What a container sees from inside: a shell line that says it, and the facts read back. */

/** By key (`status/Uid`, `mount//proc`...): the value as the container sees it. */
export type Facts = ReadonlyMap<string, string>;

/** Marks the lines of the probe among whatever else is printed. */
const mark = '@@';

/**
 * The probe: one fact a line, `@@section|key|value`. Written for busybox's shell, free of side effects
 * outside the container. The shell does by itself what it can: under emulation a process costs tens of milliseconds.
 */
export const probeScript = `
say() { echo "${mark}$1|$2|$3"; }
try() { k=$1; shift; if "$@" >/dev/null 2>&1 </dev/null; then say can "$k" yes; else say can "$k" no; fi; }
while IFS=: read -r k v; do
  set -- $v
  case $k in Uid|Gid|Groups|Cap???|NoNewPrivs|Seccomp) say status "$k" "$*";; esac
done </proc/self/status
while read -r line; do
  k=\${line%%  *}; set -- \${line#"$k"}
  case $k in Limit*) ;; *) say limit "$k" "$*";; esac
done </proc/self/limits
env | while IFS='=' read -r k v; do [ "$k" = _ ] || say env "$k" "$v"; done
say process cwd "$PWD"; say process umask "$(umask)"
[ $$ = 1 ] && say process pid first || say process pid other
[ -t 0 ] && say process tty yes || say process tty no
set -- /proc/[0-9]*; [ $# -lt 10 ] && say process processes few || say process processes many
read -r v </proc/self/oom_score_adj; say process oom_score_adj "$v"
read -r v </proc/sys/kernel/hostname; say process hostname "$v"
while read -r id parent dev root target options rest; do
  rest=\${rest#*- }
  [ "$target" = /dev/console ] || say mount "$target" "\${rest%% *} $options"
done </proc/self/mountinfo
ls -ldn /dev/* | while read -r mode links rest; do rest=\${rest#*/dev/}; say device "\${rest%% *}" "$mode"; done
for p in / /tmp /etc /dev/shm /proc/sys/kernel /sys; do
  if (: >"$p/.probe") 2>/dev/null; then say write "$p" yes; else say write "$p" no; fi
done
rm -f /.probe /tmp/.probe /etc/.probe /dev/shm/.probe
for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug /bin/ls /etc/group; do
  if read -r -n 1 v 2>/dev/null <"$p"; then say read "$p" yes; else say read "$p" no; fi
done 2>/dev/null
set -- /sys/firmware/*; [ -e "$1" ] && say read /sys/firmware "$#" || say read /sys/firmware 0
cd /proc/sys
grep -H '' kernel/shm_rmid_forced kernel/msgmax fs/mqueue/msg_max net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range 2>/dev/null | while IFS=: read -r k v; do set -- $v; say sysctl "$k" "$*"; done
try chroot chroot / /bin/true
try mount mount -t tmpfs none /mnt
try mknod mknod /tmp/.node c 1 3
(: >/tmp/.own) 2>/dev/null; try chown chown 12:34 /tmp/.own
try sethostname hostname "$HOSTNAME"
try ping ping -c1 -W1 127.0.0.1
try nice nice -n -5 true
try unshare unshare -m true
try mkdir mkdir /tmp/.dir
cg=/sys/fs/cgroup
for f in memory.max memory/memory.limit_in_bytes; do [ -e $cg/$f ] && read -r v <$cg/$f && say cgroup memory "$v"; done
[ -e $cg/cpu.max ] && read -r v <$cg/cpu.max && say cgroup cpu "$v"
if [ -e $cg/cpu/cpu.cfs_quota_us ]; then
  read -r q <$cg/cpu/cpu.cfs_quota_us; read -r v <$cg/cpu/cpu.cfs_period_us
  [ "$q" = -1 ] && q=max
  say cgroup cpu "$q $v"
fi
say probe done yes
`;

/** Reads the facts out of what a container printed. @throws Error when the probe did not come to its end */
export function parseFacts(output: string): Facts {
  const facts = new Map<string, string>();
  for (const line of output.split('\n')) {
    const match = new RegExp(`${mark}([^|@]*)\\|([^|]*)\\|(.*?)\\r?$`).exec(line);
    if (match !== null) facts.set(`${match[1]}/${match[2]}`, match[3] ?? '');
  }
  if (!facts.delete('probe/done')) throw new Error(`the probe did not end; it printed:\n${output.slice(-2000)}`);
  return facts;
}
