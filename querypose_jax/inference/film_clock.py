"""Times of a film's frames that always go on, whatever the file says."""

from fractions import Fraction

JUMP_BACK = 1.0  # seconds: a clock that goes back further has begun anew, as in joined recordings


class FilmClock:
    """Takes the time of each frame in turn and gives one that is later than that of the frame before.

    Times that go on are kept. One that stands still or goes back a little (a frame given twice, jitter) is put half a
    frame after the last one, so that the next true time can be kept again. One that goes back by more than JUMP_BACK
    begins a new recording: it and all that follow come after what there is, a frame apart.
    """

    def __init__(self, rate: Fraction):
        self.spacing = 1 / float(rate)
        self.shift = 0.0  # seconds added to what the file says
        self.last: float | None = None

    def next(self, told: float | None) -> float:
        """Seconds since the first frame; `told` is what the file says, None where it says nothing."""
        if self.last is None:
            self.shift = 0.0 if told is None else -told
            self.last = 0.0
            return self.last
        seconds = self.last + self.spacing if told is None else told + self.shift
        if seconds <= self.last - JUMP_BACK:
            self.shift += self.last + self.spacing - seconds
            seconds = self.last + self.spacing
        elif seconds <= self.last:
            seconds = self.last + self.spacing / 2
        self.last = seconds
        return seconds
