/** Text that a guest wrote, made fit for logs and errors. */

/** At most this many characters of a guest's text are kept. */
export const maxTextLength = 1024;

/** The text cut to the limit, control and bidirectional characters replaced by `?`. */
export function cleanText(text: string, limit: number = maxTextLength): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}...` : text;
  return cut.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029\p{Cs}]/gu, '?');
}
