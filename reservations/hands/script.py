"""The programs that run on machines: constant POSIX shell, for shadow's tools and busybox alike.

Nothing that a person typed is ever part of the text: names are arguments (checked before, quoted by `command`), secrets come by standard input.
Answers are lines `lormas KEY=VALUE`.
"""

from __future__ import annotations

import re
import shlex
from typing import Final

_HEAD: Final = r"""
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
export LC_ALL PATH
umask 077
user=$1 marker=$2
keep=/var/lib/lormas
say() { printf 'lormas %s\n' "$1"; }
fail() { say "error=$1"; say "detail=$2"; exit 3; }
have() { command -v "$1" >/dev/null 2>&1; }
entry() { if have getent; then getent passwd "$user"; else grep "^$user:" /etc/passwd; fi 2>/dev/null | head -n 1; }
comment() { entry | cut -d: -f5; }
owner_of() { if have getent; then getent passwd "$1" | cut -d: -f1; else awk -F: -v u="$1" '$3 == u { print $1; exit }' /etc/passwd; fi 2>/dev/null; }
living() {
  cat /proc/[0-9]*/status 2>/dev/null |
    awk -v u="$1" '/^State:/ { s = $2 } /^Pid:/ { p = $2 } /^Uid:/ { if (s != "Z" && s != "X" && ($2 == u || $3 == u || $4 == u)) print p }'
}
lock() {
  if have usermod; then usermod -L -e 1 "$user"; else passwd -l "$user"; fi >/dev/null 2>&1
  # Keys can't be read where the home can't be entered. Nothing inside is touched while its owner lives: `.ssh` may lead to root's own.
  [ ! -d "/home/$user" ] || { chown 0 "/home/$user" && chmod 700 "/home/$user"; }
}
kill_all() {
  calm=0 round=0
  while [ "$calm" -lt 2 ] && [ "$round" -lt 60 ]; do
    pids=$(living "$1")
    if [ -z "$pids" ]; then calm=$((calm + 1)); else
      calm=0
      kill -STOP $pids 2>/dev/null
      kill -KILL $pids 2>/dev/null
    fi
    round=$((round + 1))
    sleep 0.1 2>/dev/null || sleep 1
  done
}
objects() {
  # System V's memory, semaphores and queues outlive their maker: the next account of this number would own them.
  for kind in shm:8:m sem:5:s msg:8:q; do
    column=${kind#*:}
    awk -v u="$1" -v c="${column%:*}" -v k="-${kind##*:}" \
      'NR > 1 && ($c == u || $(c + 2) == u) { print k, $2 }' "/proc/sysvipc/${kind%%:*}" 2>/dev/null
  done
}
sweep() {
  kill_all "$1"
  objects "$1" | while read -r kind number; do
    # In a container not even root may, but their maker may everywhere.
    ipcrm "$kind" "$number" || setpriv --reuid "$1" --clear-groups ipcrm "$kind" "$number" ||
      su -s /bin/sh "$user" -c "ipcrm $kind $number" </dev/null
  done >/dev/null 2>&1
  for place in /tmp /var/tmp /dev/shm /dev/mqueue /var/lock /run/lock /run/user /var/spool/cron /var/spool/at /var/crash; do
    [ ! -d "$place" ] || find "$place" -xdev -depth -user "$1" -exec rm -rf -- {} \; 2>/dev/null
  done
  return 0
}
owned() { find "$1" -xdev -depth -user "$2" 2>/dev/null; }
eyes() {
  # A look that can't see must not pass for a look that found nothing.
  mkdir -p "$keep"
  [ -n "$(owned "$keep" 0)" ] || fail failed "The machine's find can't look for owners."
  [ -n "$(living 0)" ] || fail failed "The machine does not show its processes."
}
ours() { case $user in lr-?*) ;; *) return 1 ;; esac; [ "$(comment)" = "$marker" ]; }
"""

WATCH: Final = (
    _HEAD
    + r"""
while :; do
  end=$(cat "$keep/$user.until" 2>/dev/null) || exit 0
  left=$((end - $(date +%s)))
  [ "$left" -gt 0 ] || break
  [ "$left" -le 15 ] || left=15
  sleep "$left"
done
ours || exit 0
lock
kill_all "$(entry | cut -d: -f3)"
"""
)
"""The third hand: stays on the machine, and shuts the account at its end even if the panel is gone. Reads its end anew, so it can be moved."""

_TIMER: Final = r"""
end=$(($(date +%s) + left))
mkdir -p "$keep" && printf '%s\n' "$end" >"$keep/$user.until.new" && mv -f "$keep/$user.until.new" "$keep/$user.until" ||
  fail failed "The time could not be kept."
if have usermod; then usermod -e "$(date -u -d "@$((end + 86400))" +%Y-%m-%d)" "$user" >/dev/null 2>&1; fi
"""

WRITE_KEY: Final = (
    "umask 077; cd && mkdir -p .ssh && chmod 700 .ssh && rm -f .ssh/authorized_keys && cat >.ssh/authorized_keys && chmod 600 .ssh/authorized_keys"
)
"""Run as the person: the line comes by standard input. Constant, and without quotes."""

_KEYS: Final = (
    f"as_person='{WRITE_KEY}'"
    + r"""
write_key() {
  have su || fail failed "The machine has no su."
  # As the person, never as root: what is in a home is its owner's to choose, and `.ssh` may lead to root's own.
  printf 'expiry-time="%s" %s\n' "$(date -d "@$end" +%Y%m%d%H%M%S)" "$key" |
    su -s /bin/sh "$user" -c "$as_person" >/dev/null 2>&1 || fail failed "The key could not be written."
}
"""
)

CREATE: Final = (
    _HEAD
    + r"""
left=$3 sudo=$4
IFS= read -r password
IFS= read -r key
[ "$(id -u)" = 0 ] || fail no_root "The machine's user may not become root."
if [ -n "$(entry)" ]; then
  ours || fail name_taken "The machine has an account of this name that is not ours."
else
  [ ! -e "/home/$user" ] || fail name_taken "The machine has a home folder of this name already."
  shell=/bin/sh; [ ! -x /bin/bash ] || shell=/bin/bash
  if have useradd; then useradd -m -d "/home/$user" -s "$shell" -c "$marker" "$user"
  else adduser -D -h "/home/$user" -s "$shell" -g "$marker" "$user"; fi >/dev/null 2>&1
  ours || fail failed "The account could not be made."
fi
chown "$user" "/home/$user" && chmod 700 "/home/$user"
"""
    + _TIMER
    + _KEYS
    + r"""
if [ -n "$password" ]; then printf '%s:%s\n' "$user" "$password" | chpasswd >/dev/null 2>&1 || fail failed "The password was refused by the machine."
elif have usermod; then usermod -p '*' "$user" || fail failed "The account could not be opened for keys."
else printf '%s:*\n' "$user" | chpasswd -e >/dev/null 2>&1 || fail failed "The account could not be opened for keys."; fi
[ -z "$key" ] || write_key
if [ "$sudo" = 1 ]; then
  [ -d /etc/sudoers.d ] || fail failed "The machine has no sudo."
  printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >"/etc/sudoers.d/lormas-$user" && chmod 440 "/etc/sudoers.d/lormas-$user"
fi
if have setsid; then setsid sh -c "$5" lormas-watch "$user" "$marker" >/dev/null 2>&1 </dev/null &
else sh -c "$5" lormas-watch "$user" "$marker" >/dev/null 2>&1 </dev/null & fi
say "uid=$(entry | cut -d: -f3)"
say done=1
"""
)

EXTEND: Final = (
    _HEAD
    + r"""
left=$3
IFS= read -r password
IFS= read -r key
[ "$(id -u)" = 0 ] || fail no_root "The machine's user may not become root."
ours || fail failed "The account is not there any more."
"""
    + _TIMER
    + _KEYS
    + r"""
[ -z "$key" ] || write_key
say done=1
"""
)

REMOVE: Final = (
    _HEAD
    + r"""
known=$3
[ "$(id -u)" = 0 ] || fail no_root "The machine's user may not become root."
eyes
rm -f -- "$keep/$user.until" "/etc/sudoers.d/lormas-$user"
if [ -n "$(entry)" ]; then
  ours || fail name_taken "The account of this name is not ours any more; nothing was touched."
  uid=$(entry | cut -d: -f3)
  [ "$uid" -ge 500 ] || fail failed "The account has the number of a system's."
  lock
else
  # The account is gone. What is left under its number is ours only while the number is nobody's.
  uid=$known
  [ -z "$uid" ] || [ -z "$(owner_of "$uid")" ] || uid=
fi
have loginctl && loginctl disable-linger "$user" >/dev/null 2>&1 </dev/null
have crontab && crontab -r -u "$user" >/dev/null 2>&1
for spool in /var/spool/cron/crontabs /var/spool/cron /var/spool/cron/tabs /etc/crontabs /var/lib/systemd/linger /var/mail /var/spool/mail; do
  [ ! -f "$spool/$user" ] || rm -f -- "$spool/$user"
done
[ -z "$uid" ] || sweep "$uid"
case $user in lr-?*) rm -rf -- "/home/$user" ;; esac
if [ -n "$(entry)" ]; then
  if have userdel; then userdel "$user"; else deluser "$user"; fi >/dev/null 2>&1
  if grep -q "^$user:" /etc/group 2>/dev/null; then if have groupdel; then groupdel "$user"; else delgroup "$user"; fi >/dev/null 2>&1; fi
fi
[ -z "$uid" ] || say "uid=$uid"
say done=1
"""
)

REST: Final = (
    _HEAD
    + r"""
case $3 in ''|*[!0-9]*) fail failed "The account has no number." ;; esac
[ "$3" -ge 500 ] || fail failed "The account has the number of a system's."
sweep "$3"
"""
)
"""For the playbook that removes: what no module of Ansible's does. Arguments: user, marker, number."""

VERIFY: Final = (
    _HEAD
    + r"""
uid=$3
[ "$(id -u)" = 0 ] || fail no_root "The machine's user may not become root."
eyes
[ -z "$uid" ] || [ -z "$(owner_of "$uid")" ] || [ "$(owner_of "$uid")" = "$user" ] || uid=
[ -z "$(entry)" ] || say "left=the account"
[ ! -e "/home/$user" ] || say "left=its home folder"
[ ! -e "/etc/sudoers.d/lormas-$user" ] || say "left=its sudo rule"
for spool in /var/spool/cron/crontabs /var/spool/cron /var/spool/cron/tabs /etc/crontabs; do
  [ ! -f "$spool/$user" ] || say "left=its crontab"
done
if [ -n "$uid" ]; then
  [ -z "$(living "$uid")" ] || say "left=processes of it"
  [ -z "$(objects "$uid")" ] || say "left=shared memory of it"
  for place in /tmp /var/tmp /dev/shm /dev/mqueue /run/lock /var/spool/cron /var/spool/at; do
    [ ! -d "$place" ] || [ -z "$(owned "$place" "$uid" | head -n 1)" ] || say "left=files of it in $place"
  done
fi
say done=1
"""
)

CHECK: Final = (
    _HEAD
    + r"""
[ "$(id -u)" = 0 ] || fail no_root "The machine's user may not become root: let it run sudo without a password."
have useradd || have adduser || fail failed "The machine has neither useradd nor adduser."
have chpasswd || fail failed "The machine has no chpasswd."
eyes
say done=1
"""
)


def command(program: str, *arguments: str, as_root: bool) -> str:
    """The one line that is run there: `sh -c PROGRAM lormas ARGUMENTS`, each word quoted; by `sudo -n` where the login is not root."""
    words = [*([] if as_root else ["sudo", "-n", "--"]), "sh", "-c", program, "lormas", *arguments]
    return " ".join(shlex.quote(word) for word in words)


_LINE = re.compile(r"^lormas ([a-z_]+)=(.{0,300})$")


def answers(output: str) -> dict[str, list[str]]:
    """What the program said; everything else on its output (banners, warnings) is ignored. Bounded, printable."""
    found: dict[str, list[str]] = {}
    for line in output[:100_000].splitlines():
        match = _LINE.match(line)
        if match and len(found) < 50:
            found.setdefault(match.group(1), []).append("".join(c for c in match.group(2) if c.isprintable()))
    return found
