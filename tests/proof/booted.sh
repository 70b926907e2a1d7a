#!/bin/sh
# Runs inside the booted Debian; one line for each thing that was seen.
cd /src || exit 1
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
say() { printf '%s %s\n' "$1" "$2"; }
unit() { systemctl show roamd -P "$1"; }
scripts/install --party "DE*ABC" --role cso --name "ABC Charging" --listen 127.0.0.1:61119 --pairing 127.0.0.1:61120 \
  --api 127.0.0.1:61121 >/install.log 2>&1; say install $?
systemctl is-active roamd >/dev/null; say ready $?
say type "$(unit Type)"
mkdir -p /var/lib/roamd/conf.d
printf '[log]\nlevel = "debug"\n' >/var/lib/roamd/conf.d/proof.toml
chown -R roamd: /var/lib/roamd/conf.d
systemctl reload roamd; say reload-good $?
before=$(unit MainPID)
printf '[log]\nlevel = "shouting"\n' >/var/lib/roamd/conf.d/proof.toml
systemctl reload roamd 2>/dev/null; say reload-bad $?
[ "$before" = "$(unit MainPID)" ] && systemctl is-active roamd >/dev/null; say after-bad-reload $?
rm /var/lib/roamd/conf.d/proof.toml
kill -STOP "$before"; waited=0
while [ "$(unit MainPID)" = "$before" ] && [ $waited -lt 120 ]; do sleep 1; waited=$((waited + 1)); done
sleep 5
[ "$(unit MainPID)" != "$before" ] && systemctl is-active roamd >/dev/null; say watchdog $?
say watchdog-after-s $waited
say restarts "$(unit NRestarts)"
install -d -m 0700 /etc/roamd
mv /var/lib/roamd/identity.key /etc/roamd/identity.key
chown root: /etc/roamd/identity.key
mkdir -p /etc/systemd/system/roamd.service.d
printf '[Service]\nLoadCredential=identity.key:/etc/roamd/identity.key\nEnvironment=ROAMD__ENDPOINT__IDENTITY_KEY=%%d/identity.key\n' \
  >/etc/systemd/system/roamd.service.d/credential.conf
systemctl daemon-reload; systemctl restart roamd; say credential $?
systemctl is-active roamd >/dev/null; say credential-active $?
say exposure "$(systemd-analyze security roamd --no-pager 2>/dev/null | sed -n 's/.*Overall exposure level[^:]*: \([0-9.]*\).*/\1/p')"
journalctl -u roamd --no-pager >/journal.log 2>&1
