"""Mozilla DeepSpeech: Deep Speech 1 with a forward LSTM as its recurrent layer.

Source: https://github.com/mozilla/DeepSpeech; values from its util/flags.py (n_hidden 2048,
dropout_rate 0.05 on the dense layers only, relu_clip 20). Its features are 26 MFCCs every 20 ms
from windows of 32 ms; here they are 26 log-mel bins. With 19 frames of context both give 494
inputs. 47,224,861 parameters in TensorFlow; torch's LSTM has a second bias, 8,192 more.
"""

from dataclasses import replace

from variants.deepspeech1 import DeepSpeech1, DeepSpeech1Config
from variants.spec import VariantSpec

SPECS = (
    VariantSpec(
        name="mozilla-deepspeech",
        summary="Mozilla's: 3 dense layers of 2048, one LSTM, one dense; log-mel instead of MFCC",
        source="https://github.com/mozilla/DeepSpeech",
        config=replace(DeepSpeech1Config(), cell="lstm", directions="forward"),
        build=DeepSpeech1,
        features={"kind": "log_mel", "num_bins": 26, "window_ms": 32.0, "hop_ms": 20.0},
    ),
)
