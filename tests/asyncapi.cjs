// AsyncAPI's own parser on the document in the file that is named: its findings as JSON lines, then how many channels it saw.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

new Parser().parse(readFileSync(process.argv[2], "utf8")).then(({ document, diagnostics }) => {
  for (const { severity, code, path, message } of diagnostics) {
    console.log(JSON.stringify({ severity, code, path, message }));
  }
  console.log(document ? document.channels().all().length : 0);
});
