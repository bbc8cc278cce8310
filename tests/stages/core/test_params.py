"""Parameters know the models that they name."""

from stages.core.params import ModelName, Params, loaded_models, named_models
from tests.support.composed import composed


def test_every_model_knows_its_key():
    params = Params.model_validate(composed())
    keys = {params.caption.model.key, params.train.base.key, params.train.clip.key, params.evaluate.base.key}
    assert keys == {"caption.model", "train.base", "train.clip", "evaluate.base"}
    assert [model.key for model in named_models(params.train)] == ["train.base", "train.clip", "train.vgg"]
    assert ModelName(name="models/iedit").key == ""


def test_an_inception_is_named_where_there_was_none():
    assert Params.model_validate(composed()).evaluate.inception is None
    chosen = Params.model_validate(composed("evaluate.inception={name: models/inception, revision: null}", "precision=fp16"))
    (model,) = (model for model in loaded_models(chosen) if model.key == "evaluate.inception")
    assert (model.name, model.precision) == ("models/inception", "fp32")
