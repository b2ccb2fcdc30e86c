"""Runs Python code in an embedded IPython. Imported only where IPython is."""

from __future__ import annotations

import codecs
import contextlib
import importlib.util
import os
import subprocess
import sys
from types import ModuleType
from typing import Any, Callable, ContextManager, Dict, List, Optional, Tuple

from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from . import figures_backend
from .display import Bundle, cleaned, spark_frame_html
from .errors import CELL, describe, is_a
from .magics import Magics
from .sql_magic import SqlMagic
from .statement import CURRENT, Statement
from .streams import Outputs


class IPythonExecutor:
    """Runs statements of kind pyspark in the namespace of `main`."""

    def __init__(self, main: ModuleType, outputs: Outputs, magics: Magics, sql: SqlMagic, directory: Optional[str]) -> None:
        os.environ.setdefault("MPLBACKEND", _matplotlib_backend())
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.banner1 = ""
        config.Completer.use_jedi = False  # 40 MB, and slow; living objects answer better
        place = {} if directory is None else {"ipython_dir": os.path.join(directory, ".ipython")}
        _Shell.outputs, _Shell.magics = outputs, magics
        self.shell: Any = _Shell.instance(config=config, user_module=main, user_ns=main.__dict__, **place)
        self.shell.register_magic_function(sql.run, "line_cell", "sql")
        sys.modules["__main__"] = main
        #: Whom values are laid out for; None: for nobody yet.
        self._for_notebooks: Optional[bool] = None

    def run(self, statement: Statement) -> None:
        """Raises what the code raises."""
        shell = self.shell
        self._suit(statement.parent is not None)
        shell.late_errors.clear()
        result = shell.run_cell(statement.code, store_history=statement.stored, silent=statement.silent)
        error: Optional[BaseException] = result.error_before_exec or result.error_in_exec
        interrupted = error is not None and is_a(error, KeyboardInterrupt)
        for other in shell.late_errors:
            # A formatter or an event handler failed, or %run did: IPython would print it and go on. Of interrupts the first one tells.
            if other is not error and not (interrupted and is_a(other, KeyboardInterrupt)):
                sys.stderr.write("".join(describe(other)["traceback"]))
        shell.late_errors.clear()
        if error is not None:
            # IPython keeps the last result; the frames of what failed must not live as long.
            result.error_before_exec = result.error_in_exec = None
            raise error

    def _suit(self, notebook: bool) -> None:
        """Values and libraries write as whoever asks reads it. Nothing is touched while that does not change: it is the user's, too."""
        if notebook is self._for_notebooks:
            return
        self._for_notebooks = notebook
        # Else what Python itself would print, on one line: clients of Livy read it so.
        self.shell.display_formatter.formatters["text/plain"].pprint = notebook
        # By this section libraries tell a notebook from a terminal (tqdm did until it looked for ipykernel's modules).
        if notebook:
            self.shell.config["IPKernelApp"] = Config()
        else:
            self.shell.config.pop("IPKernelApp", None)

    @property
    def next_number(self) -> int:
        """Of the next statement that has a place in the history; a user's code may change it."""
        return int(self.shell.execution_count)

    def value(self, expression: str) -> Tuple[Bundle, Bundle]:
        """An expression's value as a bundle. Raises what the code raises."""
        hook = self.shell.displayhook
        hook.showing = True
        try:
            data, metadata = self.shell.display_formatter.format(self.shell.ev(expression))
        finally:
            hook.showing = False
        return data, metadata

    def check(self, code: str) -> Tuple[str, str]:
        """Whether code can run as it stands, and the next line's indentation."""
        status, indent = self.shell.check_complete(code)
        return str(status), str(indent)

    def call(self, function: Callable[[], None]) -> None:
        """Calls what is to run as the user's code does; errors that IPython catches are written to stderr."""
        self.shell.late_errors.clear()
        with self.shell.builtin_trap:
            self.shell.events.trigger("pre_execute")
            function()
            self.shell.events.trigger("post_execute")
        for other in self.shell.late_errors:
            sys.stderr.write("".join(describe(other)["traceback"]))
        self.shell.late_errors.clear()


def _matplotlib_backend() -> str:
    # Found, not imported: that would import matplotlib.
    found = importlib.util.find_spec("matplotlib_inline")
    return figures_backend.NAME if found is None else "module://matplotlib_inline.backend_inline"


class _DisplayHook(DisplayHook):  # type: ignore[misc]  # IPython has no types
    """Emits the last expression's value as the statement's result."""

    showing = False

    def start_displayhook(self) -> None:
        self.showing = True

    def write_output_prompt(self) -> None:
        pass

    def compute_format_data(self, result: Any) -> Any:
        errors = self.shell.late_errors
        known = len(errors)
        try:
            data, metadata = super().compute_format_data(result)
        finally:
            self.showing = False
        if "text/plain" not in data and len(errors) > known:
            raise errors.pop()  # its repr failed: there is nothing to show but that
        return data, metadata

    def write_format_data(self, data: Bundle, metadata: Optional[Bundle] = None) -> None:
        self.shell.outputs.emit("result", data=cleaned(data), metadata=metadata or {})

    def log_output(self, _data: Bundle) -> None:
        """IPython would keep every output for as long as it lives."""

    def finish_displayhook(self) -> None:
        pass


class _DisplayPublisher(DisplayPublisher):  # type: ignore[misc]  # IPython has no types
    """Emits displays."""

    def publish(
        self,
        data: Bundle,
        metadata: Optional[Bundle] = None,
        source: Any = None,
        *,
        transient: Optional[Dict[str, Any]] = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        display_id = (transient or {}).get("display_id")
        self.shell.outputs.emit("display", data=cleaned(data), metadata=metadata or {}, displayId=display_id, update=update)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.outputs.emit("clear", wait=bool(wait))


class _Compiler(CachingCompiler):  # type: ignore[misc]  # IPython has no types
    """Names cells as tracebacks show them: `<cell 3>` is In[3]."""

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        return "%s%d>" % (CELL, number)


class _Shell(InteractiveShell):  # type: ignore[misc]  # IPython has no types
    displayhook_class = Type(_DisplayHook)
    display_pub_class = Type(_DisplayPublisher)
    compiler_class = Type(_Compiler)
    outputs: Outputs
    magics: Magics

    def __init__(self, **options: Any) -> None:
        #: What was shown with showtraceback since the statement began; the statement's own error is among them.
        self.late_errors: List[BaseException] = []
        super().__init__(**options)
        # Python's own exit and quit raise SystemExit, which is an error of the statement; IPython's would end the shell.
        for name in ("exit", "quit"):
            self.user_ns.pop(name, None)
            self.builtin_trap.auto_builtins.pop(name, None)
        self.events.register("post_execute", self.magics.remember_figure)
        self.set_hook("show_in_pager", self._show_pager_text, 10)
        for name in self.magics.table:
            self.register_magic_function(self._livy_magic(name), "line", name)
        html = self.display_formatter.formatters["text/html"]
        html.for_type_by_name("pyspark.sql.dataframe", "DataFrame", lambda frame: spark_frame_html(frame, not self.displayhook.showing))

    def _livy_magic(self, name: str) -> Any:
        def magic(line: str) -> None:
            self.outputs.emit("result", data=cleaned(self.magics.run(name, line)), metadata={})

        magic.__doc__ = getattr(self.magics, "as_table" if name == "table" else name).__doc__
        return magic

    def system_piped(self, cmd: str) -> None:
        """`!cmd`: what it writes is the statement's output. IPython's own way is a terminal, with carriage returns and colours."""
        command = self.var_expand(cmd, depth=1)
        process = subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            while True:
                data = os.read(process.stdout.fileno(), 1 << 16)
                sys.stdout.write(decoder.decode(data, final=not data))
                if not data:
                    break
            self.user_ns["_exit_code"] = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()

    system = system_piped

    def _show_pager_text(self, _shell: Any, data: Any, start: int = 0, *_: Any, **__: Any) -> None:
        statement = CURRENT.get()
        if statement is not None and statement.parent is not None:
            bundle = data if isinstance(data, dict) else {"text/plain": data}
            statement.payload.append({"source": "page", "data": cleaned(bundle), "start": start})
            return
        if isinstance(data, dict):
            data = data.get("text/plain", "")
        sys.stdout.write(data if data.endswith("\n") else data + "\n")

    def set_next_input(self, s: str, replace: bool = False) -> None:
        """`%load` and the like: code for the front end's next cell."""
        statement = CURRENT.get()
        if statement is not None:
            statement.payload.append({"source": "set_next_input", "text": s, "replace": replace})

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        if self.find_line_magic(magic_name) is None:
            # Livy's word for it; a few of IPython's own are loaded only when they are wanted.
            with contextlib.suppress(Exception):
                return super().run_line_magic(magic_name, line, _stack_depth + 1)
            return self.magics.run(magic_name, line)
        return super().run_line_magic(magic_name, line, _stack_depth + 1)

    def _tee(self, channel: str) -> ContextManager[None]:
        """IPython would keep all that is printed for as long as it lives."""
        return contextlib.nullcontext()

    def _format_exception_for_storage(self, exception: BaseException, **_: Any) -> Dict[str, Any]:
        return {}

    def showtraceback(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
        error = (exc_tuple or sys.exc_info())[1]
        if error is not None:
            self.late_errors.append(error)

    def showsyntaxerror(self, *_: Any, **__: Any) -> None:
        self.showtraceback()

    def showindentationerror(self) -> None:
        self.showtraceback()

    def enable_gui(self, gui: Any = None) -> None:
        """There is no window system."""

    def ask_exit(self) -> None:
        raise SystemExit
