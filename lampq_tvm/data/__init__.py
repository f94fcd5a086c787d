"""Images for a model: a folder of image files or an `.npz`, at the model's input size, in bounded memory, labelled or not."""

from lampq_tvm.data.dataset import BATCH as BATCH
from lampq_tvm.data.dataset import Dataset as Dataset
from lampq_tvm.data.formats import FORMAT_HINT as FORMAT_HINT
from lampq_tvm.data.opening import check_labels as check_labels
from lampq_tvm.data.opening import open_dataset as open_dataset
from lampq_tvm.data.prepare import prepare_array as prepare_array
from lampq_tvm.data.prepare import prepare_file as prepare_file
from lampq_tvm.data.prepare import resize as resize
from lampq_tvm.data.prepare import to_channels as to_channels
from lampq_tvm.data.reading import Reading as Reading
