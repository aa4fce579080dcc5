from .server import check_gradio as check_gradio
from .server import serve as serve
from .thumbnails import make_thumbnails as make_thumbnails
from .thumbnails import thumbnail_folder as thumbnail_folder
