"""`snakemake --logger selfdraft`: what will be done, a line a job, a bar with the time left; plain lines elsewhere."""

import sys
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase

from snakemake_logger_plugin_selfdraft.display import Display


class LogHandler(LogHandlerBase):  # type: ignore[misc]  # its package has no types
    """Snakemake's own log file keeps everything else."""

    def __post_init__(self) -> None:
        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self.display = Display(stream, self.common_settings)

    def emit(self, record: LogRecord) -> None:
        try:
            self.display.show(record)
        except Exception:  # a bug of the display must not stop a study: logging prints it
            self.handleError(record)

    def close(self) -> None:
        self.display.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False
