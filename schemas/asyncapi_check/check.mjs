// Parses the AsyncAPI document named on the command line with the AsyncAPI
// parser. Prints what it saw; exits 1 if the parser finds an error.
import { readFile } from 'node:fs/promises';
import { Parser } from '@asyncapi/parser';

const file = process.argv[2];
const { document, diagnostics } = await new Parser().parse(await readFile(file, 'utf8'), { source: file });

const severities = ['error', 'warning', 'information', 'hint'];
for (const d of diagnostics) {
  const { line, character } = d.range.start;
  console.error(`${severities[d.severity]} ${line + 1}:${character + 1} ${d.path.join('.')}: ${d.message} (${d.code})`);
}
if (!document || diagnostics.some((d) => d.severity === 0)) {
  process.exit(1);
}
const fields = document.messages().all().map((m) => Object.keys(m.payload()?.json().properties ?? {}).length);
console.log(
  `${document.channels().all().length} channels, ${document.operations().all().length} operations, ` +
    `${document.messages().all().length} messages, ${fields.reduce((a, b) => a + b, 0)} fields`,
);
