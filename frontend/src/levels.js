// How bad is a line? Told from its text alone; the same rules as containers/loglevels.py, so that the search and the console agree.
export const LEVELS = ["debug", "info", "warn", "error"];
const WORDS = {
  trace: "debug", debug: "debug", verbose: "debug", dbg: "debug", info: "info", information: "info", notice: "info", inf: "info", warn: "warn", warning: "warn", wrn: "warn",
  error: "error", err: "error", severe: "error", critical: "error", crit: "error", fatal: "error", panic: "error", emerg: "error", alert: "error", exception: "error",
};
const JSON_LEVEL = /"(?:level|severity|lvl|log\.level)"\s*:\s*"(\w+)"/i, LOGFMT = /\b(?:level|lvl|severity)="?(\w+)/i;
const HEAD = /(?:^|[\s[(|/<])(trace|debug|verbose|dbg|information|info|notice|inf|warning|warn|wrn|error|err|severe|critical|crit|fatal|panic|emerg)(?=[\s\])|:>,]|$)/i;
const TRACEBACK = /^(?:Traceback \(most recent call last\)|(?:[\w.]+(?:Error|Exception))(?::|$)|Exception in thread|Caused by: )/;
const HEAD_CHARACTERS = 160, MOST = 4096;

// `plain`: without escapes. "" = it does not say
export function detect(plain) {
  const text = plain.length > MOST ? plain.slice(0, MOST) : plain;
  for (const pattern of [JSON_LEVEL, LOGFMT]) { const level = WORDS[pattern.exec(text)?.[1].toLowerCase()]; if (level) return level; }
  const head = text.slice(0, HEAD_CHARACTERS), found = HEAD.exec(head);
  if (found) {
    const word = found[1], before = head[found.index], after = head[found.index + found[0].length];
    if (word === word.toUpperCase() || found.index === 0 || "[(|<".includes(before) || after === ":") return WORDS[word.toLowerCase()];
  }
  return TRACEBACK.test(text) ? "error" : "";
}
