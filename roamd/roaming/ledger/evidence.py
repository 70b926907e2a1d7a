"""The files that prove one record to a third party, and the script that checks them with OpenSSL alone."""

from base64 import encodebytes

from roamd.trust.succession import Succession

VERIFY_SCRIPT = b"""#!/bin/sh
# Checks the evidence in this folder with openssl and nothing else: a line per step, exit status 0 only if all hold.
# Who author and receiver are is for you to know: compare the endpoint ids with what the two companies say.
set -eu
cd "$(dirname "$0")"
hash() { openssl dgst -sha256 -binary "$@"; }
part() { dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null; }
same() { if cmp -s "$1" "$2"; then echo "ok: $3"; else echo "NOT OK: $3"; exit 1; fi; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

set -- entry-*.bin
if [ -f body.json ]; then
  cat salt.bin body.json | hash > "$work/commitment"
  part "$1" 60 32 > "$work/entry"
  same "$work/commitment" "$work/entry" "the record's entry commits to salt and body"
else
  echo "erased: the body is gone; its entry still stands"
fi
hash < "$1" > "$work/hash-$1"
for entry in "$@"; do
  if [ "$entry" != "$1" ]; then
    part "$entry" 24 32 > "$work/previous"
    same "$work/last" "$work/previous" "$entry follows the entry before it"
  fi
  hash < "$entry" > "$work/last"
  part "$entry" 16 8 | od -An -tx1 | tr -d ' \\n' > "$work/number"
  cp "$work/last" "$work/at-$(cat "$work/number")"
done
for document in head receipt; do
  number=$(part "$document.bin" 144 8 | od -An -tx1 | tr -d ' \\n')
  part "$document.bin" 152 32 > "$work/signed"
  same "$work/at-$number" "$work/signed" "the $document is over an entry that follows from the record"
done
for pair in head:author receipt:receiver; do
  document=${pair%:*} signer=${pair#*:}
  openssl x509 -in "$signer.crt" -noout -pubkey > "$work/key"
  openssl dgst -sha256 -verify "$work/key" -signature "$document.sig" "$document.bin" > "$work/verdict" 2>&1 ||
    { echo "NOT OK: the $signer's signature under the $document"; exit 1; }
  echo "ok: the $document is signed by the $signer"
done
# An endpoint id is the SHA-256 of the endpoint's first key in base32, with a check character behind every 13.
key_id() { openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform DER | hash | base32 | tr -d '=\\n'; }
plain() { printf %s "$1" | sed 's/\\(.\\{13\\}\\)./\\1/g'; }
signed() {
  openssl x509 -in "$1" -noout -pubkey > "$work/key"
  openssl dgst -sha256 -verify "$work/key" -signature "$2" "$3" > "$work/verdict" 2>&1
}
for at in author:16 receiver:72; do
  side=${at%:*} name=$(part head.bin "${at#*:}" 56) key="${at%:*}.crt" number=0
  if [ -f "$side-0.crt" ]; then key="$side-0.crt"; fi
  [ "$(key_id "$key")" = "$(plain "$name")" ] || { echo "NOT OK: the $side's name is not of its key"; exit 1; }
  while [ -f "$side-$((number + 1)).crt" ]; do
    number=$((number + 1))
    next="$side-$number.crt" statement="$side-$number.txt"
    read -r words kind version of count old new _ < "$statement" || true
    [ "$words $kind $version $of $count" = "roamd successor 1 $name $number" ] &&
      [ "$(plain "$old") $(plain "$new")" = "$(key_id "$key") $(key_id "$next")" ] &&
      signed "$key" "$side-$number.old.sig" "$statement" && signed "$next" "$side-$number.new.sig" "$statement" ||
      { echo "NOT OK: the $side's key $number does not follow from the one before"; exit 1; }
    echo "ok: the $side's key $number is named by the one before"
    key=$next
  done
  cmp -s "$key" "$side.crt" || { echo "NOT OK: the $side signed with another key than its newest"; exit 1; }
  echo "$side: $name"
done
echo "received: $(( 0x$(part receipt.bin 184 8 | od -An -tx1 | tr -d ' \\n') / 1000 )) seconds after 1970-01-01 UTC"
echo "evidence: ok"
"""


def succession_files(side: str, succession: Succession, used: bytes) -> dict[str, bytes]:
    """How the key that signed follows from the one that the endpoint id names; nothing if it is that one."""
    number = succession.certificates.index(used)
    keys = succession.certificates[: number + 1] if number else ()
    files = {f"{side}-{at}.crt": pem(der) for at, der in enumerate(keys)}
    for at, step in enumerate(succession.steps[:number], 1):
        files[f"{side}-{at}.txt"] = step.document.encode()
        files[f"{side}-{at}.old.sig"], files[f"{side}-{at}.new.sig"] = step.by_old, step.by_new
    return files


def pem(der: bytes) -> bytes:
    """A certificate as openssl reads it."""
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der).strip() + b"\n-----END CERTIFICATE-----\n"
