/** The address that Linux gives an interface by its MAC (EUI-64, RFC 4291 appendix A). */
export function linkLocal(mac: string): string {
  const [a = '', b = '', c = '', d = '', e = '', f = ''] = mac.split(':');
  const first = (Number.parseInt(a, 16) ^ 2).toString(16).padStart(2, '0');
  return `fe80::${first}${b}:${c}ff:fe${d}:${e}${f}`;
}
