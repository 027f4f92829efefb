//! Labels that a client and an appliance must agree on although neither depends on the other.

use crate::CameraId;

/// What a camera's password is sealed to the device for; bound as AAD, so that the password of one camera cannot be
/// put in the place of another's. `"camera-password\0"` ‖ camera id (16 bytes).
#[must_use]
pub fn camera_password(camera: CameraId) -> Vec<u8> {
    [b"camera-password\0".as_slice(), camera.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_camera_has_its_own_label() {
        let label = camera_password(CameraId([7; 16]));
        assert_eq!(label.len(), 32);
        assert_ne!(label, camera_password(CameraId([8; 16])));
    }
}
