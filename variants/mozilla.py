"""Mozilla DeepSpeech: Deep Speech 1 with one forward LSTM for its recurrent layer.

Source: https://github.com/mozilla/DeepSpeech; values from its util/flags.py (n_hidden 2048,
dropout_rate 0.05 on the dense layers only, relu_clip 20). It reads 26 MFCCs every 20 ms from
windows of 32 ms; here 26 log-mel bins take their place, and the 19 frames of context make 494
inputs in either case. 47,224,861 parameters in TensorFlow; torch's LSTM has a second bias, 8,192.
"""

from dataclasses import replace

from variants.deepspeech1 import DeepSpeech1, DeepSpeech1Config
from variants.spec import VariantSpec

SPECS = (
    VariantSpec(
        name="mozilla-deepspeech",
        summary="Mozilla's: 3 dense layers of 2048, one LSTM, one dense; log-mel in place of MFCC",
        source="https://github.com/mozilla/DeepSpeech",
        config=replace(DeepSpeech1Config(), cell="lstm", directions="forward"),
        build=DeepSpeech1,
        features={"kind": "log_mel", "num_bins": 26, "window_ms": 32.0, "hop_ms": 20.0},
    ),
)
