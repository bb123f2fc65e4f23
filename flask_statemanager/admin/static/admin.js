// What makes the pages more comfortable; all of them work without it.
"use strict";
