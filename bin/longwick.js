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
      "longwick:   npx -p node@24 -p longwick longwick\n"
  );
  process.exitCode = 1;
} else {
  // A checkout runs from its sources, an installed package from what was built of them.
  require(fs.existsSync(source) ? source : path.join(__dirname, "../dist/" + program + ".js"));
}
