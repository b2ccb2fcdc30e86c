#!/usr/bin/env node
// Plain old JavaScript: it must be understood by a Node that is too old for everything else.
"use strict";
var fs = require("fs");
var path = require("path");

var NEEDED = [22, 19];
// A kernel answers within half a second: it does not load the command line's words first.
var program = process.argv[2] === "kernel" ? "kernel" : "cli";
var source = path.join(__dirname, "../src/" + program + ".ts");
var found = process.versions.node.split(".").map(Number);
var tooOld = found[0] < NEEDED[0] || (found[0] === NEEDED[0] && found[1] < NEEDED[1]);

if (tooOld) {
  process.stderr.write(
    "longwick: this is Node " +
      process.versions.node +
      ", but Node " +
      NEEDED.join(".") +
      " or newer is needed.\n" +
      "longwick: install a current Node (https://nodejs.org), or let npm bring one along:\n" +
      (fs.existsSync(source) ? "longwick:   npx node bin/longwick.js\n" : "longwick:   npx -p node@24 -p longwick longwick\n")
  );
  process.exitCode = 1;
} else if (fs.existsSync(source)) {
  // A checkout runs from its sources. From the second start on Node finds them without their types and needs no reader of TypeScript,
  // which takes 20 MB. Not in Node's own place, the temporary directory: whoever can write there could change what runs here.
  require("module").enableCompileCache(path.join(__dirname, "../node_modules/.cache/longwick"));
  require(source);
} else {
  // An installed package runs what was built of them.
  require(path.join(__dirname, "../dist/" + program + ".js"));
}
