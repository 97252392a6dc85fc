#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Chat templates against Jinja itself, with the environment that transformers gives them.

usage: test_chat_template.py CHAT_APPLY DATA [SEED [CASES]]    (TAP on standard output)

Every case is applied by both. Where Jinja gives a text, ours must give the same one; a refusal by name
(EOPNOTSUPP) is no mistake but for the cases that a chat template may hold, and of the generated cases only
a few may be refused. Where Jinja fails, ours must fail.
"""

import datetime
import errno
import functools
import glob
import json
import os
import random
import subprocess
import sys
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "models"))
import debian_python  # noqa: E402
import share  # noqa: E402

debian_python.need("jinja2")
import jinja2  # noqa: E402
import jinja2.ext  # noqa: E402
from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: E402

CHAT_APPLY, DATA = sys.argv[1:3]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 1
CASES = (int(sys.argv[4]) if len(sys.argv) > 4 else 400) // share.N
NOW = 1765432100
GENERATION_PROMPT, THINKING, NO_THINKING = 1, 2, 4


class Generation(jinja2.ext.Extension):
    """{% generation %}: as transformers', without the tracking."""
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_keep", [])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    def _keep(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW).strftime(f)
    return env


warnings.simplefilter("ignore", SyntaxWarning)
ENV = environment()
# Most of Jinja's time goes into that, and the stored templates are applied hundreds of times.
compiled = functools.lru_cache(maxsize=64)(ENV.from_string)


class Case:
    def __init__(self, template, messages=None, tools=None, kwargs=None, flags=0, must=True, name=None):
        self.template, self.messages, self.tools = template, messages or [], tools
        self.kwargs, self.flags, self.must, self.name = kwargs or {}, flags, must, name

    def line(self):
        d = {"template": self.template, "messages": json.dumps(self.messages), "flags": self.flags,
             "now": NOW, "kwargs": json.dumps(self.kwargs)}
        if self.tools is not None:
            d["tools"] = json.dumps(self.tools)
        return json.dumps(d)

    @functools.cached_property
    def expected(self):
        """Jinja's text and None, or None and its error."""
        kw = {"messages": json.loads(json.dumps(self.messages)), "tools": self.tools, "documents": None,
              "add_generation_prompt": bool(self.flags & GENERATION_PROMPT)}
        if self.flags & (THINKING | NO_THINKING):
            kw["enable_thinking"] = bool(self.flags & THINKING)
        kw.update(self.kwargs)
        try:
            return compiled(self.template).render(**kw), None
        except Exception as e:  # pylint: disable=broad-except
            return None, f"{type(e).__name__}: {e}"


def apply_lines(lines):
    p = subprocess.run([CHAT_APPLY], input="\n".join(lines) + "\n", encoding="utf-8", stdout=subprocess.PIPE, check=True)
    out = [json.loads(line) for line in p.stdout.splitlines()]
    assert len(out) == len(lines), f"{len(out)} answers to {len(lines)} cases"
    return out


def apply(cases):
    return apply_lines([c.line() for c in cases])


count = bad = 0


def ok(good, what, *why):
    global count, bad
    count += 1
    bad += not good
    print(f"{'ok' if good else 'not ok'} {count} - {what}")
    for w in why if not good else ():
        for line in str(w)[:3000].splitlines():
            print("#  " + line)


def check(cases, what, refused=0.0):
    """One line for all the cases of a kind; the share that may be refused."""
    wrong, refusals, failures = [], {}, 0
    for c, got in zip(cases, apply(cases)):
        text, error = c.expected
        code = -got.get("code", 0)
        if code == errno.EOPNOTSUPP and (not c.must or error):
            reason = got["error"].split(": ", 1)[-1]
            refusals[reason] = refusals.get(reason, 0) + 1
        elif error:
            failures += 1
            if not code:
                wrong.append((c, f"Jinja fails ({error}), this gives {got['text']!r}"))
            elif "\n" in got["error"] or not got["error"]:
                wrong.append((c, f"unclear error {got['error']!r}"))
        elif code:
            wrong.append((c, f"this fails ({got['error']}), Jinja gives {text!r}"))
        elif text.split("\0")[0] != got["text"] or len(text.encode()) != got["len"]:
            wrong.append((c, f"Jinja: {text!r}", f"this:  {got['text']!r}"))
    n = sum(refusals.values())
    why = [f"{c.template!r}{'' if c.kwargs is VALUES else f' {c.kwargs} {c.messages} {c.tools}'}"[:600] + "\n" + "\n".join(w)
           for c, *w in wrong[:5]]
    share = n / max(1, len(cases))
    ok(not wrong and share <= refused, f"{what}: {len(cases)} cases, {failures} fail in both, {n} refused",
       f"{len(wrong)} wrong", *why, *sorted(refusals.items(), key=lambda x: -x[1])[:8] if share > refused else ())


# ---- cases by hand ----

VALUES = {
    "s": "Hello, wörld", "empty": "", "space": "  \t a b \n", "n": 7, "neg": -3, "f": 2.5, "one": 1.0, "yes": True,
    "no": False, "nothing": None, "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "nest": [[1, 2], ["x", None], {}],
    "d": {"b": 1, "a": "x", "key": [1, {"z": None}]}, "items_of": {"items": 5, "get": 6, "n": {"m": 1}},
    "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 4, "tags": []},
               {"name": "Cy", "age": None}],
    "uni": "é日本😀ß", "json": '{"a": [1, 2.0, "<&>\\u00e9"]}', "lines": "one\ntwo\r\n\nthree\n", "big": 2 ** 70,
    "small": 1e-7, "large": 1e22, "quotes": "it's \"q\"", "tag": "<think>\nx\n</think>\n\ny",
}

EXPRESSIONS = """
s|length; uni|length; l|length; d|length; nothing is none; missing is defined; missing is undefined; missing
s.upper(); uni.upper(); uni.lower(); s.startswith('Hell'); s.endswith(('x', 'd')); s.split(','); space.split()
space.strip() ~ '|'; space.lstrip() ~ '|'; space.rstrip() ~ '|'; tag.split('</think>')[-1].lstrip('\\n')
tag.split('</think>')[0].rstrip('\\n').split('<think>')[-1]; s.replace('l', 'L'); s.replace('l', 'L', 1)
s.find('w'); uni.find('😀'); s.find('zz'); s.rfind('l'); 'x'.join(words); s.count('l'); s[::-1]; uni[::-1]
uni[1:3]; uni[-1]; uni[0]; s[100:]; s[-5:-1]; l[::-1]; l[1:]; l[:-1]; l[-1]; l[5] is defined; l[::2]; l[5:1:-2]
d.a; d['a']; d.get('b'); d.get('zz'); d.get('zz', 4); d.key[1].z; d.missing; d.missing is defined; items_of.items is callable
items_of['items']; items_of.n.m; d.items()|list; d.keys()|list; d.values()|list; d|items|list; d|list
1 + 2 * 3; 7 // 2; -7 // 2; 7 % 3; -7 % 3; 2 ** 10; 2 ** -1; 7 / 2; 1 - 2 - 3; (1 + 2) * 3; 2 ** 3 ** 2; -2 ** 2
'a' + 'b'; 'a' ~ 1 ~ none ~ true; [1] + [2]; 'ab' * 3; [0] * 3; 3 * 'x'; 1 + 2.5; 1 / 3; f * 2; yes + 1
1 < 2 < 3; 1 < 2 > 3; 1 == 1.0; 'a' < 'b'; 'a' in s; 'H' in s; 'x' not in s; 3 in l; 'b' in d; none in [none]
not yes; not not no; yes and no; yes or no; empty or 'x'; empty and 'x'; n if yes else 0; n if no; 'a' if no else 'b'
(n if no else 'z') ~ '!'; 1 if 0 else 2 if 0 else 3; not yes == no; s is string; n is string; n is number; f is float
n is integer; yes is integer; yes is boolean; d is mapping; l is sequence; s is sequence; d is sequence; l is iterable
s is iterable; n is iterable; missing is iterable; missing is sequence; nothing is iterable; n is odd; n is even
n is divisibleby 7; n is divisibleby(2); n is not none; n is in [7]; n is eq 7; n is equalto 8; n is gt 3; n is lt(3)
yes is true; no is false; n is true; d is not mapping; nothing is sameas none; yes is sameas true; 'abc' is lower; 'ABC' is upper
s|upper; s|lower; s|trim; space|trim; '--a--'|trim('-'); s|capitalize; 'aBC'|capitalize; s|replace('l', 'x'); s|replace('l', 'x', 2)
l|first; l|last; words|first; empty|first; [] | first; l|sum; l|max; l|min; words|max; l|sort; words|sort; words|sort(case_sensitive=true)
l|sort(reverse=true); people|sort(attribute='name')|map(attribute='name')|list; people|map(attribute='age')|list
people|map(attribute='tags.0')|list; people|map(attribute='tags.0', default='-')|list; words|map('upper')|list; words|map('replace', 'a', 'b')|list
people|selectattr('age')|map(attribute='name')|join(', '); people|selectattr('age', 'gt', 10)|list|length if false; people|rejectattr('age')|list
people|selectattr('name', 'equalto', 'bob')|list; people|selectattr('age', 'none')|list|length; l|select('odd')|list; l|reject('odd')|list
[0, 1, '', 'a', none]|select|list; l|join('-'); l|join; people|join(', ', attribute='name'); d|dictsort; d|dictsort(reverse=true)|list
{'b': 1, 'a': 2}|dictsort(by='value'); l|reverse|list; s|reverse; uni|reverse; words|list; s|list; '12'|int; 'x'|int; 'x'|int(5); 3.7|int
'3.7'|int; ' 12 '|int; '3.5'|float; 'x'|float; n|float; n|string; f|string; none|string; -5|abs; neg|abs; missing|default('d'); empty|default('d')
empty|default('d', true); nothing|default('d'); nothing|d('d', boolean=true); d|tojson; nest|tojson; uni|tojson; quotes|tojson; json|tojson
d|tojson(indent=2); nest|tojson(indent=2); [] | tojson(indent=2); d|tojson(sort_keys=true); d|tojson(separators=(',', ':')); uni|tojson(ensure_ascii=true)
[1.0, 1e22, 1e-7, 0.1, 123456789.123, -0.0, 1e16, 1e15]|tojson; {1: 2, none: 3, true: 4}|tojson; big|tojson; big; 'a\\x00b\\x1f\\x7f'|tojson; d|tojson|safe
(d|tojson|safe) ~ '<b>'; s|safe|upper; small; large; f; one; yes; nothing; l; d; nest; quotes; [quotes, s, uni]; ('a',); (); (1, 2); {'a': {'b': []}}
['a\\n\\t\\\\', '\\x7f', '\\xa0', '\\u200b']; [1.5, none, true]; lines.splitlines(); lines.splitlines(true); s.rsplit('l', 1); ' a b  c '.split(none, 1)
' a b  c '.rsplit(none, 1); 'a,b,c'.split(',', 1); 'a,b,c'.split(',', maxsplit=1); 'aXbX'.split('X'); ''.split(','); ''.split(); 'abc'.removeprefix('a'); 'abc'.removesuffix('c')
'12'.isdigit(); ''.isdigit(); 'ab'.isalpha(); ' \\n'.isspace(); 'Straße'.upper(); 'ﬁn'.upper(); 'ABC'.lower(); 'ÀÉ'.lower(); range(5)|list; range(2, 5)|list
range(10, 0, -3)|list; range(0)|list; range(3)|sum; dict(a=1, b=2); namespace(a=1).a; namespace(a=1).b is defined; strftime_now('%Y-%m-%d'); strftime_now('%d %B %Y %H:%M')
lines|indent; lines|indent(2); lines|indent(2, true); lines|indent('> ', true, true); l[n] is defined; d[missing] is defined; (missing or 'x'); missing == missing; missing != 1
missing ~ 'x'; missing|length; missing|list; missing|join; [missing]|length; 'a' 'b' "c"; 1_000; 0x1f + 0b11 + 0o17; 1e3; 1.5e-3; '\\u00e9\\x41\\101\\q'; true; True; None; none; False
loop is defined; l.count(3); l.index(2); (1, 2, 1).count(1); d == {'b': 1, 'a': 'x', 'key': [1, {'z': none}]}; [1, 2] == [1.0, 2]; (1,) == [1]; [1] < 2 if false; s == 'x'
not s is string; s is string and n is number; n is not string or false; (s|length > 3) and n < 10; s|length + 1; -n|abs; n|float / 2; 'x' ~ n + 1; n + 1 ~ 'x'; d.a.b is defined; d.a|default('q')|upper
'%s' if false else 'pct'; [1, 2, 3,]; {'a': 1,}; ((1, 2), [3])[0][1]; 'abc'[1]; 'abc'[n] is defined; words[0][0]; {'x': 1}.x; {'x': 1}['x']; 'a'.upper().lower() ~ 'b'; l.0; nest.0.1; nest[1][0]
"<tool_response>" in s; (s ~ s)|length; [s, n]|join('/'); n // 2 * 2 == n; n is defined and n; [] or {} or 'e'; '' ~ [] ~ {} ~ (); 5 > 3 and 3 > 1; 1 if n == 7 else 2; people[0].name; people[-1]['age'] is none
people[1].tags is sequence; d.key[-1]['z'] is none; (people|last).name; people|length - 1; messages|length; tools is none; tools is defined; documents is none; add_generation_prompt; enable_thinking is defined
"""

ERRORS = """
missing.x; missing[0]; missing(); none.x.y; 1 + 'a'; 'a' + 1; none + 1; 1 // 0; 1 / 0; n % 0; 'a' < 1; 1 in n; 1 in s; d.missing.x; raise_exception('no'); s.nosuch(); n(); missing + 1; missing < 1; -s; l['a'].x
d|first|nosuch; x|nosuchfilter; s is nosuchtest; (1; [1; {1; 1 +; ); '; {'a'}; s.; s[; a b; d.append(1); l.append(1); d.pop('a'); d.update({}); s.__class__; ''.__class__.__mro__; d['__class__'].x; s|join(1, 2, 3); n|length
none|length; n|list; [[]]|sum; s.split(''); l[::0]; n[1:]; nothing[::-1]; d[1:]; range(1000000)|list; range(1, 2, 0); missing|tojson; range|tojson; {[]: 1}; s.startswith(1); s.startswith(); s.join([1]); s.replace('a'); n is divisibleby 0
s.split(1); 1 if; not; 1 2; s|; s|upper|; s is; s is not; 'a' is in 1; [1, 'a']|sort; [1, 'a']|max; l|map|list; l|map('nosuch')|list; l|select('nosuch')|list; people|selectattr|list; s.index('zz'); l.index(9); dict(1); 10 ** 'a'
d|tojson(nosuch=1); d|tojson(1, 2, 3, 4, 5); s.upper(1); d.get(); strftime_now(); raise_exception(); namespace(1); loop.cycle(1); caller(); 012; 1e; s.upper(*l); s[1, 2].x; (1,)(2); 'x'|indent('a', 'b', 'c', 'd'); 5|trim(1)
"""

STATEMENTS = [
    "{% if yes %}a{% elif n %}b{% else %}c{% endif %}", "{% if no %}a{% elif n %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif no %}b{% else %}c{% endif %}", "{% if no %}x{% endif %}",
    "{% if no %}1{% else %}{% if yes %}2{% else %}3{% endif %}{% endif %}",
    "{% if no %}1{% elif no %}2{% elif yes %}3{% elif yes %}4{% endif %}",
    "{% for x in l %}{{ x }}{% endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}"
    "{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for x in words %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.previtem is defined }};{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% else %}e{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}e{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}", "{% for (a, b) in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for x in n %}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ x * y }}{{ loop.index }} {% endfor %}{{ loop.index }}\n{% endfor %}",
    "{% for c in uni %}[{{ c }}]{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in missing.y %}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{{ x }}{% break %}{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }}{% endfor %};{% endfor %}", "{% break %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in l recursive %}{{ x }}{% endfor %}", "{{ loop }}{% for x in l %}{% endfor %}{{ x }}",
    "{% set x = 1 %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = 1 %}", "{% set x = 1, 2 %}{{ x }}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% for i in l %}{{ y }}{% set y = i %}{{ y }}{% endfor %}{{ y }}", "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.new = 3 %}{{ ns.new }}{{ ns.old is defined }}", "{% set n.x = 1 %}", "{% set nosuch.x = 1 %}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}",
    "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x|length }}", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'z') | upper %}abc{% endset %}{{ x }}",
    "{% set x %}{% set y = 1 %}{% endset %}{{ y }}", "{% set messages = [] %}{{ messages }}", "{% set s = s|upper %}{{ s }}",
    "{% macro m(a, b=2) %}<{{ a }},{{ b }}>{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}{{ m() }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}", "{% macro m() %}{{ n }}{% set n = 1 %}{{ n }}{% endmacro %}{{ m() }}{{ n }}",
    "{% macro f(k) %}{% if k %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{% for x in l %}{{ m(x) }}{% endfor %}",
    "{% macro m() %}  a  {% endmacro %}[{{ m()|trim }}]{{ m()|length }}", "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}", "{% macro m() %}{{ loop }}{% endmacro %}{% for i in l %}{{ m() }}{% endfor %}",
    "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(a, b) %}{% endmacro %}{{ m is callable }}{{ m is defined }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}", "{% with n = 1, m = n %}{{ m }}{% endwith %}", "{% filter upper %}abc{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aXa{% endfilter %}",
    "{% generation %}{{ n }}{% set z = 1 %}{% endgeneration %}{{ z }}", "{% raw %}{{ n }}{% if %}{% endraw %}", "{%- raw -%}  {{ x }} {%- endraw -%}  y", "{% raw %}\n a {% endraw %}\nb", "  {% raw %}  x  {% endraw %}  ", "{%+ raw %} x {%- endraw +%}\n y",
    "a {# comment #} b", "a {#- comment -#} b", "a\n  {# comment #}\n  b", "{##}{#-#} a", "{#- x #}\n\nb", "a {#+ x #} b", "x\n   {#- y -#}\n   z",
    "  {% if yes %}\n  a\n  {% endif %}\n  b\n", "  {%- if yes -%}\n  a\n  {%- endif -%}\n  b\n", "  {%+ if yes %}\n a\n  {%+ endif %}\n", "{% if yes +%}\n a\n{% endif -%}\n  b", "a {% if yes %} b {% endif %} c", "\t {% if yes %}\n\n\nx{% endif %}\n\n",
    "a\n{{ n }}\n  {{ n }}  \n{{- n -}}\n  b", "  {{- n }}  ", "{{ n -}}   \n  x", "{{-1}}{{- -1}}{{+1}}", "a\r\nb\rc\n{% if yes %}\r\nd\r\n{% endif %}\r\n", "a\n\n", "a\n", "\n", "", "{{ n }}\n\n", "x  {%- set a = 1 -%}  y", "{% set a = 1 %}\n{% set b = 2 %}\nx",
    "\u00a0{%- if yes %} \u3000{% endif -%}\u2003x", "{% if yes %}  \n{% endif %}|", " {% if yes %}x{% endif %} {% if yes %}y{% endif %}", "{{ '{% x %}' }}{{ '}}' }}{{ \"{{\" }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': 1}}}", "{ {a} } {% set q = {} %}{{ q }}", "{{ d }}}", "{{{'a': 1}}}",
    "{% if %}x{% endif %}", "{% if yes %}", "{% for x in l %}", "{% endif %}", "{% else %}", "{% nosuch %}", "{{ n", "{% if yes", "{# x", "{% raw %}x", "{{ n }", "{{ }}", "{% %}", "{% for x %}{% endfor %}", "{% for in l %}{% endfor %}", "{% for 1 in l %}{% endfor %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x %}",
    "{% macro %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% block b %}{% endblock %}", "{% do 1 %}", "{% print 1 %}", "{% autoescape true %}{% endautoescape %}", "{% if yes %}{% endfor %}", "{% for x in l %}{% endif %}",
    "{{ (1 }}", "{{ 1) }}", "{{ [1) }}", "{{ n n }}", "{{ n, s }}", "{{ (n, s) }}", "{{ 1 if yes }}{{ 1 if no }}", "{% if n == 7 and s %}:{% endif %}", "{% if yes: %}a{% endif %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in l if x is odd %}{{ x }}{% endfor %}", "{% for x in (l if yes else []) %}{{ x }}{% endfor %}",
    "{% for x in l|sort|reverse %}{{ x }}{% endfor %}", "{% for m in people if m.age %}{{ m.name }}{{ loop.last }}{% endfor %}", "{% for x in range(3) %}{{ x }}{% endfor %}", "{% for p in people|selectattr('age') %}{{ p.name }}{% endfor %}",
    "{% set it = l|map('string') %}{{ it|list }}{{ it|list }}", "{% set it = d.items() %}{{ it|length }}{{ it|list|length }}{{ it|list|length }}", "{% set it = l|reverse %}{% for x in it %}{{ x }}{% endfor %}{% for x in it %}{{ x }}{% endfor %}", "{% set it = d|items %}{{ it|first }}{{ it|first }}",
    "{{ 'é' }}é日本", "{{ \"\\n\" }}|{{ '\\t' }}|{{ '\\\\' }}|{{ '\\'' }}|{{ \"a\nb\" }}", "{{ 'a\\\nb' }}", "{% set loop_messages = messages[1:] %}{{ loop_messages }}", "{% set x = none %}{{ x is none }}{{ x }}", "{{ range(3) is iterable }}", "{% set x = [1,2] %}{% set y = x %}{{ x == y }}{{ x is iterable }}",
    "{% set x = 'a' %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m('b') }}{{ x }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% for i in l %}{% set i = i * 2 %}{{ i }}{% endfor %}", "{% set i = 5 %}{% for i in l %}{{ i }}{% endfor %}{{ i }}", "{{ d.get('key')[1].get('z', 1) is none }}",
    "{% for x in l %}{% set y %}{{ loop.index }}{% endset %}{{ y }}{% endfor %}", "{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}", "{% for x in l -%}\n   {{ x }}\n{%- endfor %}", "{% for x in l %}\n   {{ x }}\n{% endfor %}", "{% macro m(x) -%}\n {{ x }}\n{%- endmacro -%}\n[{{ m(1) }}]",
]


def by_hand():
    split = [e.strip() for line in EXPRESSIONS.strip().splitlines() for e in line.split("; ") if e.strip()]
    errors = [e.strip() for line in ERRORS.strip().splitlines() for e in line.split("; ") if e.strip()]
    check([Case("{{ " + e + " }}", kwargs=VALUES, name=e) for e in split], "expressions")
    check([Case("{{ " + e + " }}", kwargs=VALUES, name=e, must=False) for e in errors], "expressions that are wrong", 0.5)
    refused = ("recursive", "{{ loop }}{% for", "{% macro m() %}{{ caller", "extends", "{% block", "{% print", "autoescape",
               "{% macro m() %}{{ loop")
    check([Case(t, kwargs=VALUES, must=not any(r in t for r in refused)) for t in STATEMENTS], "statements and white space", 0.1)


# ---- conversations ----

TEXTS = ["Hi", "", " spaced \n", "日本語 😀", "a\n\nb", "<tool_response>\nx\n</tool_response>", "<think>\nhm\n</think>\n\nok",
         "</think>", "quote \" ' \\ {{ x }} {% y %}", "<|im_end|>", "\t\x07"]


def value(r, depth=0):
    k = r.randrange(9 if depth < 2 else 6)
    if k == 6:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    if k == 7:
        return {r.choice("abcdeé "): value(r, depth + 1) for _ in range(r.randrange(4))}
    return [r.choice(TEXTS), r.randrange(-99, 99), r.random() * 10 ** r.randrange(-20, 20), True, None,
            r.randrange(2 ** 60, 2 ** 70), 0, 0, r.choice(TEXTS)][k]


def tool(r):
    props = {r.choice(["key", "path", "a", "items", "é"]): {"type": r.choice(["string", "integer", ["string", "null"]]),
             "description": r.choice(TEXTS), **({"enum": [value(r)]} if r.random() < .3 else {})} for _ in range(r.randrange(3))}
    f = {"name": r.choice(["get", "add", "läs"]), "parameters": {"type": "object", "properties": props, "required": list(props)}}
    if r.random() < .7:
        f["description"] = r.choice(TEXTS)
    return {"type": "function", "function": f} if r.random() < .8 else f


def call(r):
    f = {"name": r.choice(["get", "add"]), "arguments": {r.choice(["key", "a", "b"]): value(r) for _ in range(r.randrange(4))}}
    return {"type": "function", "function": f} if r.random() < .7 else f


def conversation(r, parts):
    out = []
    if r.random() < .5:
        out.append({"role": "system", "content": r.choice(TEXTS)})
    for _ in range(r.randrange(1, 7)):
        role = r.choice(["user", "user", "assistant", "assistant", "tool", "tool", "system"])
        m = {"role": role, "content": r.choice(TEXTS)}
        if parts and r.random() < .3:
            m["content"] = [{"type": "text", "text": r.choice(TEXTS)}, {"type": "image"}][:r.randrange(3)]
        if role == "assistant":
            if r.random() < .3:
                m["reasoning_content"] = r.choice(TEXTS)
            if r.random() < .4:
                m["tool_calls"] = [call(r) for _ in range(r.randrange(3))]
            if r.random() < .1:
                m["content"] = None
        out.append(m)
    return out


def conversations(r, n):
    for path in sorted(glob.glob(os.path.join(DATA, "*.jinja"))):
        with open(path, encoding="utf-8") as f:
            template = f.read()
        name = os.path.basename(path)
        cases = []
        for _ in range(n):
            flags = r.randrange(2) | r.choice([0, THINKING, NO_THINKING])
            kwargs = {k: r.random() < .5 for k in ("preserve_thinking", "add_vision_id") if r.random() < .3}
            tools = [tool(r) for _ in range(r.randrange(3))] if r.random() < .6 else None
            cases.append(Case(template, conversation(r, "parts" in name), tools, kwargs, flags, name=name))
        # Text marked safe in an expression is the only thing that may be refused.
        check(cases, name)


# ---- generated templates ----

def expr(r, depth=0):
    names = list(VALUES) + ["x", "missing", "messages"]
    if depth > 3 or r.random() < .25:
        return r.choice([r.choice(names), r.choice(names), str(r.randrange(-5, 9)), repr(r.choice(["a", "", "l", "\n", "é"])),
                         "none", "true", "2.5", "[]", "{}"])
    e = lambda: expr(r, depth + 1)  # noqa: E731
    return r.choice([
        lambda: f"({e()} {r.choice(['+', '-', '*', '~', '//', '%', '==', '!=', '<', '>=', 'in', 'not in', 'and', 'or'])} {e()})",
        lambda: f"{r.choice(names)}.{r.choice(['a', 'b', 'key', 'name', 'items', 'n'])}",
        lambda: f"({e()})[{r.choice([e(), '0', '-1', repr('a')])}]",
        # Not of constants, whose slices Jinja computes ahead, and by other rules.
        lambda: f"{r.choice(names)}[{r.choice([':2', '::-1', '1:', '-3:-1', '::2'])}]",
        lambda: f"({e()})|{r.choice(['length', 'upper', 'lower', 'trim', 'tojson', 'string', 'list', 'first', 'last', 'join', 'int', 'reverse', 'sort', 'default(1)', 'safe', 'sum', 'abs', 'max', 'capitalize'])}",
        lambda: f"({e()}) is {r.choice(['', 'not '])}{r.choice(['defined', 'none', 'string', 'mapping', 'iterable', 'sequence', 'number', 'boolean', 'true', 'integer', 'float', 'undefined', 'callable', 'odd'])}",
        lambda: f"({e()} if {e()} else {e()})",
        lambda: f"(not {e()})",
        lambda: f"({r.choice(['s', 'uni', 'lines', 'space', 'tag', e()])}).{r.choice(['strip()', 'upper()', 'split()', 'splitlines()', 'lstrip()', 'startswith(' + repr('H') + ')', 'replace(' + repr('l') + ', ' + repr('é') + ')', 'split(' + repr('l') + ')', 'find(' + repr('o') + ')', 'count(' + repr('l') + ')'])}",
        lambda: f"[{e()}, {e()}]",
        lambda: f"{{'a': {e()}, 'k': {e()}}}",
        lambda: f"people|{r.choice(['map', 'map', 'map'])}(attribute='{r.choice(['name', 'age', 'tags'])}')|list",
        lambda: f"d.get({e()}, {e()})",
    ])()


def block(r, depth=0):
    sign = lambda: r.choice(["", "", "", "-", "+"])  # noqa: E731
    text = lambda: r.choice(["", " ", "\n", "  \n  ", "a", "é", "\t", "x\n"])  # noqa: E731
    if depth > 2 or r.random() < .5:
        minus = r.choice(["", "-"])
        return f"{text()}{{{{{minus} {expr(r)} {r.choice(['', '-'])}}}}}{text()}"
    b = lambda: block(r, depth + 1)  # noqa: E731
    return text() + r.choice([
        lambda: f"{{%{sign()} if {expr(r)} {sign()}%}}{b()}{{%{sign()} else {sign()}%}}{b()}{{%{sign()} endif {sign()}%}}",
        lambda: f"{{%{sign()} for x in {r.choice(['l', 'words', 'd', 's', 'people', expr(r)])} {sign()}%}}{b()}{r.choice(['', '{{ loop.index }}', '{% if loop.last %}.{% endif %}'])}{{%{sign()} endfor {sign()}%}}",
        lambda: f"{{%{sign()} set x = {expr(r)} {sign()}%}}{b()}",
        lambda: f"{{%{sign()} macro f(x, y={expr(r)}) {sign()}%}}{b()}{{% endmacro %}}{{{{ f({expr(r)}) }}}}",
        lambda: f"{{% set x %}}{b()}{{% endset %}}{b()}",
        lambda: f"{{#{sign()} c {sign()}#}}{b()}",
        lambda: f"{{% set ns = namespace(v=1) %}}{{% for x in l %}}{{% set ns.v = ns.v + x %}}{{% endfor %}}{{{{ ns.v }}}}",
    ])() + text()


def strange(v):
    """Values that Python prints with an address or in words of its own are not compared."""
    return any(w in v for w in ("<generator", "<dict", "<bound", "<built-in", "object at 0x", "dict_items", "dict_keys",
                                "dict_values", "<Macro", "<Namespace", "list_reverseiterator", "<function", "Undefined"))


def generated(r, n):
    cases = []
    while len(cases) < n:
        c = Case("".join(block(r) for _ in range(r.randrange(1, 4))), [{"role": "user", "content": "x"}], None, VALUES, must=False)
        text, _ = c.expected
        if text is None and r.random() < .8:
            continue  # most are wrong somewhere
        if text is None or not strange(text):
            cases.append(c)
    check(cases, "generated templates", 0.08)


def agent():
    """The published form of a trained model's template, and the text it was trained on."""
    path = os.path.join(DATA, "..", "..", "..", "models", "qwen3next-agent")
    if not os.path.exists(path):
        return
    with open(os.path.join(path, "tokenizer_config.json"), encoding="utf-8") as f:
        template = json.load(f)["chat_template"]
    with open(os.path.join(path, "expected", "chat.json"), encoding="utf-8") as f:
        chats = json.load(f)
    cases = [Case(template, c["messages"], c["tools"], flags=GENERATION_PROMPT) for c in chats]
    check(cases, "qwen3next-agent")
    ok(all(g.get("text") == c["text"] for g, c in zip(apply(cases), chats)), "qwen3next-agent gives the text it was trained on")


def limits():
    """What a hostile template does ends soon, with an error that names the limit."""
    evil = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{{ 'x' * 999999999999 }}", "{{ ('x' * 60000000) ~ ('y' * 60000000) }}", "{{ [0] * 999999999999 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "not " * 5000 + "1 }}", "{{ 1" + "+1" * 5000 + " }}",
        "{{ s" + "|upper" * 5000 + " }}", "{{ s" + ".a" * 5000 + " }}", "{% if 1 %}" * 5000, "{% for x in l %}" * 300 + "{% endfor %}" * 300,
        "{% set ns = namespace(x=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[], y=[]) %}{% for i in range(500) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
        "{{ range(0, 100000) | join('x' * 100000) }}", "{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% for i in range(99999) %}{% set y = range(99999)|list %}{% endfor %}", "x" * (2 << 20),
    ]
    for t, got in zip(evil, apply([Case(t, kwargs={"s": "s", "l": [1]}) for t in evil])):
        ok(-got.get("code", 0) in (errno.EFBIG, errno.EINVAL) and got["error"], f"{t[:60]!r}: {got.get('error', 'no error')}", got)
    deep = Case("{{ x }}", kwargs={"x": 0}).line().replace(r'{\"x\": 0}', r'{\"x\": ' + "[" * 100000 + "]" * 100000 + "}")
    messages = ("[", "{", "[1,]", '["\\ud800"]', '["\x01"]', "[01]", "[1e999]", "nope", "", "[] []", '{"a" 1}', "[-]", '["\\x"]')
    broken = [json.dumps({**json.loads(Case("x").line()), "messages": m}) for m in messages]
    got = apply_lines([deep, *broken])
    ok(-got[0].get("code", 0) == errno.EFBIG, "JSON nested deeply is refused", str(got[0])[:200])
    for m, g in zip(messages, got[1:]):
        ok(-g.get("code", 0) == errno.EBADMSG, f"messages {m!r} are refused", g)


def main():
    r = random.Random(SEED)
    print("TAP version 13")
    by_hand()
    conversations(r, CASES // 2)
    generated(r, CASES)
    agent()
    limits()
    print(f"1..{count}")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
