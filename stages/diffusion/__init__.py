"""The paper's equations as functions of tensors.

========  =====================================================  ==========================================
Equation  In the paper                                           Here
========  =====================================================  ==========================================
Eq 1      L_LDM, the loss of a latent diffusion model            ``noise.squared_error``
Eq 2      z_t, the noised source                                 ``noise.add_noise``
Eq 3      ε₂, the noise that leads from z_t to the target        ``noise.noise_towards``
Eq 4      L_paired, the loss towards the target                  ``noise.squared_error`` of ε₂
Eq 5      L_global, the edited picture against the edit prompt   ``losses.clip_distance``
Eq 6      x̂₁, the edited picture                                 ``models.latent_diffusion.Diffusion.decode``
Eq 7      ẑ₁, its latents                                        ``noise.predict_clean``
Eq 8      L_mask, the sum of both parts of Eq 9                  ``losses.masked_noise_loss``
Eq 9      foreground towards ε₂, background towards ε₁           ``losses.masked_noise_loss``
Eq 10     L_perc, VGG features of both masked pictures           ``losses.perceptual_loss``
Eq 11     L_loc, the masked picture against the edited words     ``losses.clip_distance``
Eq 12     the weighted sum of all terms                          ``losses.total_loss``
Eq 13     sampling within a mask                                 ``sampling.edit_latents``
========  =====================================================  ==========================================

Beyond the paper, L_guided, the default's loss, is Eq 9 with the target of ``guidance.guided_noise``. The table
``losses.TERMS`` has every term of Eq 12 with its symbol, its weight and its switch.
"""
