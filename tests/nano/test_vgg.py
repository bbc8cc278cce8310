"""Folding the batch norms into the convolutions keeps the classifier's function."""

import torch

from nano.vgg import Classifier, fold_batch_norms


def test_classifier_without_batch_norms_is_the_same_function():
    torch.manual_seed(0)
    model = Classifier(5, batch_norm=True)
    pictures = torch.rand(4, 3, 64, 64)
    model(pictures)  # moves the running statistics away from 0 and 1
    model.eval()
    plain = fold_batch_norms(model).eval()
    torch.testing.assert_close(plain(pictures), model(pictures), rtol=1e-4, atol=1e-6)
    assert list(plain.state_dict()) == list(Classifier(5).state_dict())
