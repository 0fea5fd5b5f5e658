"""Text that the model of a finished run writes."""

from __future__ import annotations

import functools
import math
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnlab.config import Config
from nnlab.errors import UsageError
from nnlab.storage.checkpoints import Arrays
from nnlab.storage.results import read_summary
from nnlab.system import device
from nnlab.system.random import generator
from nnlab.text import join_words
from nnlab.training.trained_model import TrainedModel

MAXIMUM_LISTED = 5  # characters in a message


class Draw(NamedTuple):
    """How the next token is drawn.

    Attributes:
        temperature: What the outputs are divided by; 0 takes the likeliest token.
        top_k: Of how many likeliest tokens it is one; None is all.
    """

    temperature: float
    top_k: int | None

    def check(self) -> None:
        """Raises UsageError where a number is out of its range."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature: {self.temperature}; it is 0 or more")
        if self.top_k is not None and not (isinstance(self.top_k, Integral) and self.top_k >= 1):
            raise UsageError(f"top_k: {self.top_k}; it is a whole number, 1 or more")

    def token(self, outputs: np.ndarray, random: np.random.Generator) -> int:
        """The number of a token, by the outputs of a position `[K]`."""
        scores = outputs.astype(np.float64) - outputs.max()
        if self.temperature == 0:
            return int(scores.argmax())
        if self.top_k is not None:
            scores[np.argsort(-scores, kind="stable")[self.top_k :]] = -np.inf
        with np.errstate(over="ignore"):  # a temperature near 0 leaves the likeliest
            powers = np.exp(scores / self.temperature)
        return int(random.choice(len(powers), p=powers / powers.sum()))


class Writer:
    """What the run in a directory writes. It needs the directory alone: the text that the run was trained on
    may be gone."""

    def __init__(self, path: Path, config: Config, weights: Arrays) -> None:
        self.path, self.config, self.weights = path, config, weights
        self.vocabulary, self.plan = self._vocabulary(), config.build()
        self.length = config.tree["data"]["length"]
        if self.plan.loss.applies != "softmax":
            raise UsageError(f"{path}: its outputs are no logits of tokens; its loss must be cross_entropy")

    def write(self, prompt: str, length: int, temperature: float, seed: int, top_k: int | None) -> str:
        """See `Run.generate`."""
        for name, number in (("length", length), ("seed", seed)):
            if not isinstance(number, Integral) or number < 0:
                raise UsageError(f"{name}: {number}; it is a whole number, 0 or more")
        draw = Draw(temperature, top_k)
        draw.check()
        tokens = self._tokens(prompt)
        written, random = len(tokens), generator(seed, "generate")
        for _ in range(length):
            tokens.append(draw.token(self._outputs(tokens[-self.length :]), random))
        return self._spelled(tokens[written:])

    def _vocabulary(self) -> str:
        vocabulary = read_summary(self.path).get("vocabulary")
        if self.config.tree["data"]["type"] != "text" or not isinstance(vocabulary, str):
            raise UsageError(f"{self.path}: has no vocabulary; only a run on data of type text writes")
        return vocabulary

    @property
    def _of_bytes(self) -> bool:
        return self.config.tree["data"]["unit"] == "bytes"

    def _tokens(self, prompt: str) -> list[int]:
        """The numbers of a prompt's tokens. Raises UsageError where one is not in the vocabulary."""
        try:
            in_bytes = prompt.encode(errors="surrogateescape")  # a command line may hold what is no UTF-8
        except UnicodeEncodeError:
            raise UsageError("prompt: holds half of a character") from None
        in_characters = prompt.replace("\r\n", "\n").replace("\r", "\n")
        spelled = in_bytes.decode("latin-1") if self._of_bytes else in_characters
        if not spelled:
            raise UsageError("prompt: is empty; a model foretells the token behind another one")
        unknown = sorted(set(spelled) - set(self.vocabulary))
        if unknown:
            listed = join_words([repr(token) for token in unknown[:MAXIMUM_LISTED]], "and")
            raise UsageError(f"prompt: {listed} did not occur in the text that {self.path} was trained on")
        return [self.vocabulary.index(token) for token in spelled]

    def _spelled(self, tokens: list[int]) -> str:
        if self._of_bytes:
            return bytes(tokens).decode("utf-8", "replace")
        return "".join(self.vocabulary[token] for token in tokens)

    def _outputs(self, tokens: list[int]) -> np.ndarray:
        """The outputs behind the last one of some tokens, at most as many as a window holds, `[K]`."""
        window = np.zeros((1, self.length), np.float32)
        window[0, : len(tokens)] = tokens
        return self._model(window)[0, len(tokens) - 1]

    @functools.cached_property
    def _model(self) -> TrainedModel:
        """The model of windows `[B, L]`. Raises UsageError where an output depends on later tokens."""
        device.configure()
        model = TrainedModel.of_shape(self.plan, (self.length,), self.weights)
        last_token = np.eye(1, self.length, self.length - 1, dtype=np.float32)
        outputs = model(0 * last_token)
        if outputs.shape[-1] != len(self.vocabulary):
            raise UsageError(
                f"{self.path}: its vocabulary has {len(self.vocabulary)} tokens, its model "
                f"{outputs.shape[-1]} outputs; summary.json is damaged"
            )
        if not np.array_equal(outputs[:, :-1], model(last_token)[:, :-1]):
            raise UsageError(
                f"{self.path}: its outputs depend on later tokens, which are not there yet; give blocks of a "
                "transformer causal: true, and leave out what else mixes positions"
            )
        return model
