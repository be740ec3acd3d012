#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the text corpus of the SmolLM2 study from Debian's documentation packages: one .txt file, paragraphs unique.

  apt-get download linux-doc-6.1 dict-gcide postgresql-doc-15 python3.11-doc debian-handbook debian-reference-en perl-doc
  for f in *.deb; do dpkg -x $f TREE; done
  python3 study_corpus.py TREE OUT.txt [--megabytes 90] [--seed 1]

HTML is reduced to the text of its body (scripts, styles, navigation left out), other languages than English are skipped,
documents are shuffled by the seed.  The result is technical English; its sha256 is printed.
"""
import argparse
import gzip
import hashlib
import html.parser
import os
import random
import re


class Text(html.parser.HTMLParser):
    SKIP = {'script', 'style', 'nav', 'head', 'footer'}
    VOID = {'br', 'hr', 'img', 'meta', 'link', 'input', 'area', 'col', 'wbr', 'base', 'source'}
    BLOCK = {'p', 'div', 'li', 'h1', 'h2', 'h3', 'h4', 'tr', 'dt', 'dd', 'pre', 'section', 'br', 'table'}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.out, self.skip = [], 0

    def handle_starttag(self, tag, attrs):
        css = dict(attrs).get('class') or ''
        if self.skip:
            self.skip += tag not in self.VOID
        elif tag in self.SKIP or 'sidebar' in css or 'related' in css.split():
            self.skip = tag not in self.VOID
        elif tag in self.BLOCK:
            self.out.append('\n\n' if tag not in ('br', 'tr', 'dd') else '\n')

    def handle_endtag(self, tag):
        if self.skip:
            self.skip -= tag not in self.VOID
        elif tag in self.BLOCK:
            self.out.append('\n')

    def handle_data(self, data):
        if not self.skip:
            self.out.append(data)


def read(path):
    data = open(path, 'rb').read()
    if path.endswith('.gz'):
        data, path = gzip.decompress(data), path[:-3]
    text = data.decode('utf-8', 'replace')
    if path.endswith(('.html', '.htm')):
        parser = Text()
        parser.feed(text)
        text = ''.join(parser.out)
    return text


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('tree')
    ap.add_argument('out')
    ap.add_argument('--megabytes', type=float, default=90)
    ap.add_argument('--seed', type=int, default=1)
    a = ap.parse_args()
    paths = []
    for folder, _, files in os.walk(a.tree):
        if re.search(r'/(zh|ja|it|sp|ko|translations|[a-z]{2}-[A-Z]{2})(/|_|$)', folder) and 'en-US' not in folder:
            continue
        paths += [os.path.join(folder, f) for f in files
                  if re.search(r'\.(html|txt|rst|pod|html\.gz|txt\.gz|rst\.gz|gz)$', f) and 'changelog' not in f.lower()]
    paths.sort()
    random.Random(a.seed).shuffle(paths)
    seen, size, digest = set(), 0, hashlib.sha256()
    with open(a.out, 'wb') as out:
        for path in paths:
            try:
                text = read(path)
            except (OSError, EOFError):
                continue
            keep = []
            for paragraph in re.split(r'\n\s*\n', text.replace('\r\n', '\n')):
                paragraph = re.sub(r'[ \t]+\n', '\n', paragraph).strip('\n')
                key = hash(re.sub(r'\s+', ' ', paragraph))
                letters = sum(c.isalpha() for c in paragraph)
                if len(paragraph) < 3 or key in seen or letters * 2 < len(paragraph) or not paragraph.isprintable() and '\x00' in paragraph:
                    continue
                if sum(ord(c) > 0x24f for c in paragraph) * 10 > len(paragraph):
                    continue
                seen.add(key)
                keep.append(paragraph)
            if sum(map(len, keep)) < 500:
                continue
            data = ('\n\n'.join(keep) + '\n\n\n').encode()
            out.write(data)
            digest.update(data)
            size += len(data)
            if size > a.megabytes * 1e6:
                break
    print(f'{size} bytes, sha256 {digest.hexdigest()}')


if __name__ == '__main__':
    main()
