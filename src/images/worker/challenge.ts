/** The parts of a `WWW-Authenticate` header that matter to registries. */
export interface Challenge {
  readonly scheme: 'basic' | 'bearer';
  readonly realm: string;
  readonly service: string;
}

/**
 * Picks the challenge to answer: Bearer before Basic; undefined when there is neither.
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
 */
export function parseChallenge(header: string): Challenge | undefined {
  const found: Challenge[] = [];
  const text = header.slice(0, 8192);
  for (const match of text.matchAll(/(?:^|,\s*)(basic|bearer)\b((?:\s*,?\s*[a-z_]+=(?:"[^"]*"|[^\s",]*))*)/gi)) {
    const parameters = new Map<string, string>();
    for (const [, key = '', quoted, plain] of (match[2] ?? '').matchAll(/([a-z_]+)=(?:"([^"]*)"|([^\s",]*))/gi)) {
      parameters.set(key.toLowerCase(), quoted ?? plain ?? '');
    }
    const scheme = match[1]?.toLowerCase() === 'bearer' ? 'bearer' : 'basic';
    found.push({ scheme, realm: parameters.get('realm') ?? '', service: parameters.get('service') ?? '' });
  }
  return found.find((each) => each.scheme === 'bearer') ?? found[0];
}
